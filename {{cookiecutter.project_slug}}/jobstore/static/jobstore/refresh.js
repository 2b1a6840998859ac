/* Keeps a page up to date. It asks again for each element with an id and data-refresh="seconds",
 * at the address in data-refresh-from of the element around it, else at the page's own, and changes
 * what differs: scroll, focus, selection and opened details stay. It stops while nobody looks. */
(() => {
  "use strict";
  const TICK = 2000, MOST = 10, SLOWEST = 60000;
  const asked = new Map();
  let paused = false, failures = 0, timer = 0, busy = false, changed = "";

  const controls = document.querySelector("[data-refresh-controls]");
  const state = controls && controls.querySelector("[data-refresh-state]");
  const fragments = () => [...document.querySelectorAll("[data-refresh][id]")];
  if (!fragments().length) return;

  const say = () => {
    if (!state) return;
    controls.hidden = !fragments().length;
    const words = controls.dataset;
    const kind = paused ? "paused" : failures > 1 ? "failed" : "live";
    controls.dataset.kind = kind;
    state.textContent = kind === "live" ? words.live : `${words[kind]} ${changed}`;
  };

  const clock = () => new Date().toLocaleTimeString([], { hour12: false, timeZoneName: "short" });

  /* Those that are due, the longest waiting first; not those in which somebody selects text. */
  const due = (now) => {
    const selection = getSelection();
    const selects = (one) => !selection.isCollapsed && selection.rangeCount
      && selection.getRangeAt(0).intersectsNode(one);
    const late = (one) => now - (asked.get(one.id) || 0) - 1000 * one.dataset.refresh;
    return fragments().filter((one) => late(one) > -200 && !selects(one))
      .sort((a, b) => late(b) - late(a)).slice(0, MOST);
  };

  const same = (a, b) => a.nodeType === b.nodeType && a.nodeName === b.nodeName
    && (a.id || "") === (b.id || "");

  const morph = (old, fresh) => {
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
      return;
    }
    for (const { name, value } of fresh.attributes) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    for (const { name } of [...old.attributes]) {
      const own = name === "open" && old.nodeName === "DETAILS";
      if (!own && !fresh.hasAttribute(name)) old.removeAttribute(name);
    }
    const olds = [...old.childNodes];
    [...fresh.childNodes].forEach((child, place) => {
      const there = olds[place];
      if (!there) old.append(document.importNode(child, true));
      else if (same(there, child)) morph(there, child);
      else there.replaceWith(document.importNode(child, true));
    });
    olds.slice(fresh.childNodes.length).forEach((one) => one.remove());
  };

  const show = (text, some) => {
    const page = new DOMParser().parseFromString(text, "text/html");
    const focused = document.activeElement;
    const address = focused && focused.getAttribute("href");
    for (const old of some) {
      const fresh = page.getElementById(old.id);
      if (!fresh) continue;
      morph(old, fresh);
      old.dispatchEvent(new CustomEvent("refreshed", { bubbles: true }));
    }
    // A link that moved to another place of its list keeps the focus.
    if (address && focused.getAttribute("href") !== address) {
      const moved = some.flatMap((one) => [...one.querySelectorAll("a[href]")])
        .find((one) => one.getAttribute("href") === address);
      if (moved) moved.focus({ preventScroll: true });
    }
  };

  const ask = async (address, some) => {
    const shown = some.map((one) => `${one.id}=${one.dataset.version || ""}`).join(" ");
    const answer = await fetch(address, {
      headers: { "Jobstore-Refresh": "1", "If-None-Match": `"${shown}"` },
      cache: "no-store",
      redirect: "error",
      signal: AbortSignal.timeout(10000),
    });
    if (answer.status !== 304 && !answer.ok) throw new Error(answer.status);
    if (answer.status !== 304) show(await answer.text(), some);
    changed = clock();
    // What had no place in the answer waits on, and is asked for first.
    return (answer.headers.get("Jobstore-Left") || "").split(" ");
  };

  const look = async () => {
    clearTimeout(timer);
    if (paused || busy || document.hidden || !fragments().length) return;
    busy = true;
    const now = Date.now();
    const groups = new Map();
    for (const one of due(now)) {
      const around = one.closest("[data-refresh-from]");
      const address = (around && around.dataset.refreshFrom) || location.href;
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
    button.addEventListener("click", () => {
      paused = !paused;
      button.textContent = controls.dataset[paused ? "resume" : "pause"];
      say();
      look();
    });
    controls.append(" ", button);
  }
  changed = clock();
  say();
  const start = Date.now();
  fragments().forEach((one) => asked.set(one.id, start));
  document.addEventListener("visibilitychange", look);
  timer = setTimeout(look, TICK);
})();
