/* Keeps a page up to date. It asks again for each element with an id and data-refresh="seconds",
 * at the address in data-refresh-from of the element around it, else at the page's own, and changes
 * what differs: scroll, focus, selection and opened details stay. It stops while nobody looks.
 * And it shows the preview of a form with data-preview in its place. */
(() => {
  "use strict";
  const TICK = 2000, MOST = 10, SLOWEST = 60000;
  const asked = new Map(), begun = Date.now();
  let paused, busy, timer, changed, sent, failures = 0;

  const request = (address, headers, body) => fetch(address, {
    method: body && "POST",
    body,
    headers: { "Jobstore-Refresh": "1", ...headers },
    cache: "no-store",
    redirect: "error",
    signal: AbortSignal.timeout(10000),
  });

  /* For any answer but a preview (errors, a login) the browser sends the form itself. */
  const form = document.querySelector("form[data-preview]");
  form?.addEventListener("submit", async (event) => {
    const button = event.submitter, [told, place] = form.querySelectorAll("[data-shows]");
    sent = event;
    if (button?.name !== "preview") return;
    event.preventDefault();
    told.textContent = "";
    try {
      const answer = await request("", {}, new URLSearchParams(new FormData(form)));
      if (!answer.headers.has("Jobstore-Refresh")) throw answer;
      const html = await answer.text();
      if (sent !== event) return;
      place.innerHTML = html;
      told.textContent = [...place.querySelectorAll("h2, p")].map((one) => one.textContent).join(" ");
      button.className = "";
      place.scrollIntoView({ block: "nearest" });
    } catch {
      if (sent === event) form.submit();
    }
  });

  const controls = document.querySelector("[data-refresh-controls]");
  const fragments = () => [...document.querySelectorAll("[data-refresh][id]")];
  if (!fragments().length) return;

  const say = () => {
    if (!controls) return;
    controls.hidden = !fragments().length;
    const kind = paused ? "paused" : failures > 1 ? "failed" : "live";
    controls.dataset.kind = kind;
    controls.querySelector("[data-refresh-state]").textContent =
      `${controls.dataset[kind]} ${kind === "live" ? "" : changed}`;
  };

  const clock = () => new Date().toLocaleTimeString([], { hour12: false, timeZoneName: "short" });

  /* Those that are due, the longest waiting first; not those in which somebody selects text. */
  const due = (now) => {
    const selection = getSelection();
    const late = (one) => now - (asked.get(one.id) || begun) - 1000 * one.dataset.refresh;
    return fragments().filter((one) => late(one) > -200)
      .filter((one) => selection.isCollapsed || !selection.containsNode(one, true))
      .sort((a, b) => late(b) - late(a)).slice(0, MOST);
  };

  const morph = (old, fresh) => {
    if (!old.attributes) {
      if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
      return;
    }
    for (const { name, value } of fresh.attributes) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    for (const { name } of [...old.attributes]) {
      if (name !== "open" && !fresh.hasAttribute(name)) old.removeAttribute(name);
    }
    const olds = [...old.childNodes], news = [...fresh.childNodes];
    news.forEach((child, place) => {
      const there = olds[place];
      if (!there) old.append(child);
      else if (there.nodeName === child.nodeName && there.id === child.id) morph(there, child);
      else there.replaceWith(child);
    });
    olds.slice(news.length).forEach((one) => one.remove());
  };

  const show = (text, some) => {
    const page = new DOMParser().parseFromString(text, "text/html");
    const focused = document.activeElement;
    const address = focused?.getAttribute("href");
    for (const old of some) {
      const fresh = page.getElementById(old.id);
      if (!fresh) continue;
      morph(old, fresh);
      old.dispatchEvent(new Event("refreshed", { bubbles: true }));
    }
    // A link that moved in its list keeps the focus.
    if (address && focused.getAttribute("href") !== address) {
      some.flatMap((one) => [...one.querySelectorAll("a[href]")])
        .find((one) => one.getAttribute("href") === address)?.focus({ preventScroll: true });
    }
  };

  const ask = async (address, some) => {
    const shown = some.map((one) => `${one.id}=${one.dataset.version || ""}`).join(" ");
    const answer = await request(address, { "If-None-Match": `"${shown}"` });
    if (answer.ok) show(await answer.text(), some);
    else if (answer.status !== 304) throw answer;
    changed = clock();
    // What had no place in it is asked for first.
    return (answer.headers.get("Jobstore-Left") || "").split(" ");
  };

  const look = async () => {
    clearTimeout(timer);
    if (paused || busy || document.hidden || !fragments().length) return;
    busy = true;
    const now = Date.now(), groups = new Map();
    for (const one of due(now)) {
      const address = one.closest("[data-refresh-from]")?.dataset.refreshFrom || location.href;
      groups.set(address, [...(groups.get(address) || []), one]);
    }
    try {
      for (const [address, some] of groups) {
        const left = await ask(address, some);
        some.forEach((one) => left.includes(one.id) || asked.set(one.id, now));
      }
      failures = 0;
    } catch {
      failures += 1;
    }
    busy = false;
    say();
    timer = setTimeout(look, Math.min(TICK * 2 ** failures, SLOWEST));
  };

  if (controls) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = controls.dataset.pause;
    button.onclick = () => {
      paused = !paused;
      button.textContent = controls.dataset[paused ? "resume" : "pause"];
      say();
      look();
    };
    controls.append(" ", button);
  }
  changed = clock();
  say();
  document.addEventListener("visibilitychange", look);
  timer = setTimeout(look, TICK);
})();
