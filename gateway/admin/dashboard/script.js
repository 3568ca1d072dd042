// The script of the dashboard: puts the live part of a later page in the place of an
// earlier one, draws lines, and does what buttons say. All text comes from the server as
// escaped HTML; nothing here makes HTML of text.
"use strict";
(() => {
  const find = (selector, from = document) => from.querySelector(selector);
  const pause = (ms) => new Promise((done) => setTimeout(done, ms));

  // token is kept for this tab of the browser only.
  const token = {
    name: "mcmt2xmpp token",
    get: () => sessionStorage.getItem(token.name),
    set: (value) => sessionStorage.setItem(token.name, value),
    forget: () => sessionStorage.removeItem(token.name),
  };

  // ask makes a request with the token, where there is one.
  function ask(path, options = {}) {
    const headers = new Headers(options.headers);
    if (token.get()) headers.set("Authorization", "Bearer " + token.get());
    return fetch(path, { ...options, headers, cache: "no-store", redirect: "error" });
  }

  // why is what an answer that is no success says (RFC 9457).
  async function why(answer) {
    try {
      return (await answer.json()).detail || answer.statusText;
    } catch {
      return answer.status + " " + answer.statusText;
    }
  }

  const parsed = (html) => new DOMParser().parseFromString(html, "text/html");

  // page is the dashboard with a query.
  async function page(query) {
    const answer = await ask("/" + query, { headers: { Accept: "text/html" } });
    if (!answer.ok) throw new Error(await why(answer));
    return parsed(await answer.text());
  }

  // say tells what became of a wish, in every part of the page. Good news goes by itself.
  let silence;
  function say(text, bad = false) {
    const said = find("#said");
    said.textContent = text;
    said.classList.toggle("bad", bad);
    clearTimeout(silence);
    if (!bad) silence = setTimeout(() => (said.textContent = ""), 15_000);
  }

  // ours are attributes that a person or this script sets: they stay as they are.
  const ours = new Set(["open", "data-folded", "aria-expanded", "aria-disabled"]);

  // morph makes an element like another one, and keeps all that has not changed: so that
  // the focus, a selection and what is open survive.
  function morph(is, want) {
    for (const { name } of [...is.attributes]) {
      if (!ours.has(name) && !want.hasAttribute(name)) is.removeAttribute(name);
    }
    for (const { name, value } of want.attributes) {
      if (!ours.has(name) && is.getAttribute(name) !== value) is.setAttribute(name, value);
    }
    if (want.dataset.points !== undefined) return draw(is);
    const keyed = (element) => new Map([...element.children].filter((c) => c.dataset.key !== undefined).map((c) => [c.dataset.key, c]));
    const had = keyed(is);
    const wanted = keyed(want);
    let at = is.firstChild;
    for (const next of [...want.childNodes]) {
      const key = next.dataset?.key;
      const same = key === undefined ? at : had.get(key);
      wanted.delete(key);
      if (!same || same.nodeName !== next.nodeName || same.dataset?.key !== key) {
        is.insertBefore(decorate(document.importNode(next, true)), at);
        continue;
      }
      // What has its order keeps its place, because what is moved loses the focus.
      while (at && at !== same && !wanted.has(at.dataset?.key)) at = remove(at);
      if (at === same) at = at.nextSibling;
      else is.insertBefore(same, at);
      if (same.nodeType === Node.ELEMENT_NODE) morph(same, next);
      else if (same.data !== next.data) same.data = next.data;
    }
    while (at) at = remove(at);
  }

  // remove removes a node and returns the one after it.
  function remove(node) {
    const next = node.nextSibling;
    node.remove();
    return next;
  }

  // decorate draws what is new, and folds what is long.
  function decorate(node) {
    if (node.nodeType !== Node.ELEMENT_NODE) return node;
    const all = [node, ...node.querySelectorAll("*")];
    for (const element of all) {
      if (element.dataset.points !== undefined) draw(element);
      if (element.matches("tbody.many")) fold(element, true);
    }
    return node;
  }

  function fold(body, folded) {
    body.toggleAttribute("data-folded", folded);
    find(".fold", body)?.setAttribute("aria-expanded", String(!folded));
  }

  // draw draws the line of an element's points. It is scaled to their largest.
  function draw(element) {
    if (element.drawn === element.dataset.points) return;
    element.drawn = element.dataset.points;
    const points = element.drawn.split(",").map(Number);
    const top = Math.max(1, ...points);
    const path = points.map((n, x) => x + "," + (20 - (n / top) * 19).toFixed(2)).join(" ");
    const svg = element.firstElementChild ?? element.appendChild(shape("svg", { viewBox: `0 0 ${points.length - 1} 20`, preserveAspectRatio: "none" }));
    svg.replaceChildren(
      shape("polygon", { points: `0,20 ${path} ${points.length - 1},20` }),
      shape("polyline", { points: path }),
    );
  }

  function shape(name, attributes) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  }

  // events yields the data of server-sent events. EventSource cannot send a token.
  async function* events(answer, stop) {
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      // One comes every second: a connection that is silent for so long is dead.
      const silent = setTimeout(() => stop.abort(), 20_000);
      const { value, done } = await reader.read().finally(() => clearTimeout(silent));
      if (done) return;
      text += value;
      for (let end; (end = text.indexOf("\n\n")) >= 0; text = text.slice(end + 2)) {
        if (text.startsWith("data: ")) yield text.slice(6, end);
      }
    }
  }

  const clock = () => new Date().toLocaleTimeString("en-GB");

  // link says whether the numbers are live. Screen readers hear only that this changes.
  function link(state, text) {
    const element = find("#link");
    if (element.dataset.link === state) return;
    element.dataset.link = state;
    element.firstElementChild.textContent = text;
  }

  // watch shows what happens until the end of the page. A tab that nobody sees asks for
  // nothing.
  async function watch() {
    let wait = 1000;
    let shown = clock();
    for (;;) {
      while (document.hidden) await new Promise((done) => document.addEventListener("visibilitychange", done, { once: true }));
      const stop = new AbortController();
      const hide = () => document.hidden && stop.abort();
      document.addEventListener("visibilitychange", hide);
      let reason = "";
      try {
        const answer = await ask("/v1/live?view=page", { signal: stop.signal });
        if (answer.status === 401) {
          token.forget();
          return location.reload(); // which asks for another one where it is needed
        }
        if (!answer.ok) throw new Error(await why(answer));
        for await (const data of events(answer, stop)) {
          show(JSON.parse(data));
          link("on", "live");
          shown = clock();
          wait = 1000;
        }
      } catch (error) {
        reason = error.message;
      }
      document.removeEventListener("visibilitychange", hide);
      if (document.hidden) continue;
      await pause(wait);
      wait = Math.min(2 * wait, 15_000);
      if (wait > 2000) link("lost", "not live since " + shown + (reason ? ": " + reason : ""));
    }
  }

  // replace makes a part of the page like another one. Where that takes away what has the
  // focus, it goes to what is left of its row, or to a title.
  function replace(is, want, title) {
    const focused = document.activeElement;
    const row = focused.closest("tr");
    morph(is, want);
    if (focused === document.activeElement) return;
    if (focused.isConnected) focused.focus({ preventScroll: true });
    else ((row?.isConnected && find(".buttons button", row)) || find(title))?.focus();
  }

  function show(html) {
    const next = document.createElement("main");
    next.id = "live";
    next.append(...parsed(html).body.childNodes);
    replace(find("#live"), next, "#queue-title");
  }

  // part puts a part of a page with a query in its place.
  async function part(id, query) {
    const from = find("#" + id, await page(query));
    from.hidden = false;
    replace(find("#" + id), from, "#" + id + "-title");
  }

  async function trace(id) {
    find("#id").value = id;
    const query = "?id=" + encodeURIComponent(id);
    await part("trace", query);
    history.replaceState(null, "", "/" + query);
    find("#trace-title").focus();
    find("#trace").scrollIntoView({ block: "start" });
  }

  function closeTrace() {
    find("#trace").hidden = true;
    history.replaceState(null, "", "/");
    find("#id").focus();
  }

  // confirmed asks whether it is meant.
  function confirmed(button) {
    const dialog = find("#confirm");
    find("#confirm-title").textContent = button.textContent;
    find("#confirm-text").textContent = button.dataset.confirm;
    dialog.returnValue = "";
    dialog.showModal();
    return new Promise((done) => dialog.addEventListener("close", () => done(dialog.returnValue === "ok"), { once: true }));
  }

  // act does what a button says.
  async function act(button) {
    const { path, body, what, confirm } = button.dataset;
    const label = button.textContent;
    if (button.getAttribute("aria-disabled") === "true" || (confirm && !(await confirmed(button)))) return;
    button.setAttribute("aria-disabled", "true");
    try {
      const answer = await ask(path, { method: "POST", body, headers: { "Content-Type": "application/json" } });
      if (!answer.ok) throw new Error(await why(answer));
      const { affected, changed } = await answer.json();
      const none = affected === 0 || changed === false;
      say(label + " " + what + ": " + (none ? "there was nothing to do." : affected === undefined ? "done." : "done to " + affected + "."));
      if (button.closest("#dead")) await part("dead", "?show=dead");
      if (button.closest("#trace")) await part("trace", location.search);
    } catch (error) {
      say(label + " " + what + ": " + error.message, true);
    } finally {
      button.removeAttribute("aria-disabled");
    }
  }

  // attempt does what a person asked for, and says when it fails.
  const attempt = (work) => work.catch((error) => say(error.message, true));

  function clicked(event) {
    const target = event.target.closest("button[data-path], .fold, a[data-find], a[data-show], a[data-close], #signout");
    if (!target || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    if (target.matches("[data-path]")) act(target);
    else if (target.matches(".fold")) fold(target.closest("tbody"), !target.closest("tbody").hasAttribute("data-folded"));
    else if (target.matches("[data-find]")) attempt(trace(target.dataset.find));
    else if (target.matches("[data-show]")) attempt(part("dead", "?show=dead").then(() => find("#dead-title").focus()));
    else if (target.matches("[data-close]")) closeTrace();
    else {
      token.forget();
      location.assign("/");
    }
  }

  function pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "/" && !event.target.matches("input")) {
      event.preventDefault();
      find("#id").focus();
      find("#id").select();
    } else if (event.key === "Escape" && !find("#trace").hidden && !find("#confirm").open) closeTrace();
  }

  function dashboard() {
    decorate(document.body);
    find("#signout").hidden = !token.get();
    document.addEventListener("click", clicked);
    document.addEventListener("keydown", pressed);
    find("#search").addEventListener("submit", (event) => {
      event.preventDefault();
      attempt(trace(find("#id").value.trim()));
    });
    watch();
  }

  // enter puts the dashboard in the place of the page that asks for a token.
  async function enter() {
    const entered = await page(location.search);
    document.body.replaceWith(document.importNode(entered.body, true));
    dashboard();
  }

  function signin() {
    find("#signin").addEventListener("submit", (event) => {
      event.preventDefault();
      token.set(find("#token").value.trim());
      attempt(enter().catch((error) => {
        token.forget();
        throw error;
      }));
    });
    if (token.get()) attempt(enter());
  }

  document.documentElement.classList.add("js");
  if (document.body.dataset.page === "signin") signin();
  else dashboard();
})();
