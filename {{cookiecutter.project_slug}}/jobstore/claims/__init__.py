"""From a due job to a claimed run: what is due, what becomes of it, who takes it."""
