// Makes the pages follow the server. Without it everything can still be seen and done: it is links and forms.
"use strict";

const MOST_ROWS = 200;
const AGAIN_MS = 5000;

function followEvents(rows) {
  const state = document.getElementById("stream-state");
  const pause = document.getElementById("pause");
  let held = [];
  let skipped = 0;
  let source = null;

  function isPaused() { return pause.getAttribute("aria-pressed") === "true"; }

  function say(text) { if (state.textContent !== text) state.textContent = text; }

  function told() {
    if (isPaused()) {
      say(held.length + skipped ? `paused, ${held.length + skipped} new` : "paused");
    } else {
      say("live");
    }
  }

  function show(fresh, left) {
    document.querySelector(".empty")?.remove();
    if (left) {
      const gap = document.createElement("tr");
      const cell = gap.insertCell();
      gap.className = "gap";
      cell.colSpan = 6;
      cell.textContent = `${left} more came at the same time and are not shown; filter, or look among the earlier events`;
      rows.prepend(gap);
    }
    rows.prepend(...fresh);
    while (rows.rows.length > MOST_ROWS) rows.deleteRow(-1);
  }

  function follow() {
    source = new EventSource(rows.dataset.stream);
    source.addEventListener("open", told);
    source.addEventListener("error", () => {
      say("the server is away, trying again …");
      if (source.readyState === EventSource.CLOSED) { leave(); setTimeout(catchUp, AGAIN_MS); }
    });
    source.addEventListener("rows", take);
    source.addEventListener("panels", (event) => {
      replace(document.getElementById("panels"), parsed(JSON.parse(event.data).html).body);
    });
    source.addEventListener("over", () => { leave(); location.reload(); });
  }

  function leave() { source?.close(); source = null; }

  function take(event) {
    const news = JSON.parse(event.data);
    const fresh = [...parsed(`<table><tbody>${news.html}</tbody></table>`).querySelectorAll("tr")];
    for (const row of fresh) row.classList.add("fresh");
    rows.dataset.stream = rows.dataset.stream.replace(/\bafter=\d+/, `after=${event.lastEventId}`);
    if (isPaused()) {
      held = [...fresh, ...held];
      skipped += news.skipped + Math.max(0, held.length - MOST_ROWS);
      held.length = Math.min(held.length, MOST_ROWS);
    } else {
      show(fresh, news.skipped);
    }
    told();
  }

  // Show the newest events again, and go on from there; what is paused goes on from the last one that came.
  async function catchUp() {
    if (source || document.hidden) return;
    if (isPaused()) { follow(); return; }
    try {
      const page = await fetchPage();
      const newest = page?.getElementById(rows.id);
      if (!newest) throw new Error("not the page");
      if (source || document.hidden) return;
      if (newest.rows.length) document.querySelector(".empty")?.remove();
      rows.replaceChildren(...newest.childNodes);
      rows.dataset.stream = newest.dataset.stream;
      tellAges(rows);
      follow();
    } catch {
      say("the server is away, trying again …");
      setTimeout(catchUp, AGAIN_MS);
    }
  }

  // A browser has six connections to a server, for all its tabs: those that nobody sees leave them to the others.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) leave();
    else catchUp();
  });
  if (!document.hidden) follow();
  pause.hidden = false;
  pause.addEventListener("click", () => {
    const paused = !isPaused();
    pause.setAttribute("aria-pressed", String(paused));
    if (!paused) { show(held, skipped); held = []; skipped = 0; }
    told();
  });
}

function parsed(html) { return new DOMParser().parseFromString(html, "text/html"); }

// What somebody is just using stays as it is.
function replace(place, fresh) {
  const selected = document.getSelection();
  const busy = place.contains(document.activeElement) || (selected && !selected.isCollapsed && place.contains(selected.anchorNode));
  if (!busy) { place.replaceChildren(...fresh.childNodes); tellAges(place); labelCells(place); }
}

// This page as it is now; nothing if the session has ended, after which the page is left for the login.
async function fetchPage() {
  const answer = await fetch(location.href, { headers: { "Accept": "text/html" } });
  if (answer.redirected) { location.reload(); return null; }
  return parsed(await answer.text());
}

// The next look begins after the last one has ended: a slow server is not asked more often than it answers.
function keepFresh(place) {
  setTimeout(async () => {
    try {
      const fresh = document.hidden ? null : (await fetchPage())?.getElementById(place.id);
      if (fresh) replace(place, fresh);
    } catch { /* the server is away; the next time may be better */ }
    keepFresh(place);
  }, 1000 * Number(place.dataset.refresh));
}

// On a narrow screen each row becomes a block of lines, which begin with the name of their column.
function labelCells(place) {
  for (const table of place.querySelectorAll(".scroll > table:not(.matrix)")) {
    const names = [...table.tHead.rows[0].cells].map((cell) => cell.textContent.trim());
    table.classList.add("labelled");
    for (const row of table.tBodies[0].rows) {
      [...row.cells].forEach((cell, number) => {
        cell.dataset.label = names[number];
        cell.classList.toggle("none", !cell.textContent.trim() && !cell.children.length);
      });
    }
  }
}

const AGES = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

function tellAges(place) {
  for (const time of place.querySelectorAll("time[datetime]")) {
    const seconds = (Date.now() - Date.parse(time.dateTime)) / 1000;
    const [length, unit] = AGES.find(([size]) => Math.abs(seconds) >= size) ?? [1, "s"];
    const age = `${Math.floor(Math.abs(seconds) / length)} ${unit}`;
    const absolute = time.title.split(" · ")[0];
    time.title = `${absolute} · ${seconds >= 0 ? `${age} ago` : `in ${age}`}`;
  }
}

// The command that does the same, as the form is filled in.
function teach(form) {
  const line = form.querySelector("[data-command]");
  if (!line) return;
  const quoted = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
  function write() {
    const words = [line.dataset.command];
    for (const choice of form.querySelectorAll("[data-begins] :checked")) words[0] = choice.dataset.command;
    for (const flag of form.querySelectorAll("[data-flag]:checked")) words.push(flag.dataset.flag);
    for (const field of form.querySelectorAll("[data-option]")) {
      const values = field.type === "checkbox" ? (field.checked ? ["true"] : []) : field.value.split("\n");
      const given = values.map((value) => value.trim()).filter(Boolean);
      const secret = field.dataset.secret;
      if (secret && given.length) { words.push(`${field.dataset.option} ${secret}`); continue; }
      for (const value of "joined" in field.dataset && given.length ? [given.join(",")] : given) words.push(`${field.dataset.option} ${quoted(value)}`);
    }
    line.textContent = words.join(" ");
  }
  form.addEventListener("input", write);
  write();
}

for (const rows of document.querySelectorAll("[data-stream]")) followEvents(rows);
for (const place of document.querySelectorAll("[data-refresh]")) keepFresh(place);
for (const form of document.querySelectorAll("form[data-teaches]")) teach(form);
for (const box of document.querySelectorAll("[data-all]")) {
  box.addEventListener("change", () => {
    for (const other of box.closest("form, section").querySelectorAll(`input[name="${box.dataset.all}"]`)) other.checked = box.checked;
  });
}
tellAges(document);
labelCells(document);
setInterval(() => tellAges(document), 15000);
