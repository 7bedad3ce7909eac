"use strict";
// Fetches the page every few seconds and brings what is shown in line with it, element by element, so that
// focus, scroll positions, open details and what somebody is typing stay as they are.
(() => {
  const EVERY_MS = 5000;
  const state = document.getElementById("live-state");
  const button = document.getElementById("live-pause");
  let paused = false;
  let busy = false;

  const keyOf = (node) => (node.nodeType === 1 ? node.id || node.dataset.key || "" : "");
  const isFormField = (node) => /^(INPUT|SELECT|TEXTAREA)$/.test(node.nodeName);

  function attributes(old, fresh) {
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
    }
    for (const { name, value } of fresh.attributes) {
      if (name !== "open" && old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
  }

  function children(old, fresh) {
    const known = new Map();
    for (const child of old.childNodes) if (keyOf(child)) known.set(keyOf(child), child);
    let at = old.firstChild;
    for (const wanted of [...fresh.childNodes]) {
      const key = keyOf(wanted);
      let match = key ? known.get(key) : at;
      if (!match || keyOf(match) !== key || match.nodeName !== wanted.nodeName) {
        old.insertBefore(document.importNode(wanted, true), at);
        continue;
      }
      known.delete(key);
      if (match === at) at = at.nextSibling;
      else old.insertBefore(match, at);
      morph(match, wanted);
    }
    while (at) {
      const next = at.nextSibling;
      at.remove();
      at = next;
    }
  }

  function morph(old, fresh) {
    if (old.nodeType !== 1) {
      if (old.data !== fresh.data) old.data = fresh.data;
    } else if (!isFormField(old) && !old.hasAttribute("data-keep") && !old.isEqualNode(fresh)) {
      attributes(old, fresh);
      children(old, fresh);
    }
  }

  async function update() {
    if (paused || busy || document.hidden) return;
    busy = true;
    try {
      const reply = await fetch(location.pathname + location.search, { cache: "no-store" });
      if (!reply.ok) throw new Error(reply.status);
      const page = await reply.text();
      // The head has a style, which this document's policy would complain of.
      const fresh = new DOMParser().parseFromString(page.slice(page.indexOf("<body")), "text/html");
      const focused = document.activeElement;
      for (const part of document.querySelectorAll("[data-live]")) {
        const other = fresh.getElementById(part.id);
        if (other) morph(part, other);
      }
      // An element that was moved has lost it.
      if (focused && focused !== document.activeElement && focused.isConnected) {
        focused.focus({ preventScroll: true });
      }
      state.textContent = "live";
    } catch {
      state.textContent = "no answer since " + new Date().toLocaleTimeString() + ", trying again";
    } finally {
      busy = false;
    }
  }

  button.hidden = false;
  state.textContent = "live";
  button.addEventListener("click", () => {
    paused = !paused;
    button.textContent = paused ? "Go on" : "Pause";
    state.textContent = paused ? "paused" : "live";
    update();
  });
  document.addEventListener("visibilitychange", update);
  setInterval(update, EVERY_MS);
})();
