"use strict";
// The live list. Texts from outside only ever become textContent.
const MOST = 500; // Alerts kept on the page.
const LOST_MS = 15000; // The stream says every 5 s that it lives.
const RETRY_MS = 1000;
const NOTICES = 3; // Shown at once.
const NOTICE_MS = 24 * 3600 * 1000;

const state = {
  language: localStorage.getItem("language") || (navigator.language.startsWith("zh") ? "zh" : "en"),
  show: "open",
  alerts: new Map(), // alert id -> { seq, event }
  failing: new Map(), // receiver -> since
  refused: null, // Why changed rules were refused.
  notices: new Map(), // subject -> event: a rule's budget is used up
  simulated: false, // The server says that nothing here is real.
  last: 0,
  heard: 0,
  link: "wait",
};
const $ = (id) => document.getElementById(id);
const words = () => WORDS[state.language];

function key() {
  const given = /^#key=([A-Za-z0-9_-]+)$/.exec(location.hash);
  if (given) {
    sessionStorage.setItem("key", given[1]);
    history.replaceState(null, "", location.pathname); // The key leaves the address bar.
  }
  return sessionStorage.getItem("key") || "";
}

function headers(more) {
  return { Authorization: "Bearer " + key(), ...more };
}

// Reading

async function load() {
  const answer = await fetch("api/v1/alerts?limit=200", { headers: headers() });
  if (answer.status === 401) throw new Error("no_key");
  if (!answer.ok) throw new Error("HTTP " + answer.status);
  const page = await answer.json();
  state.alerts.clear();
  for (const one of page.alerts) put(one.event);
  state.last = page.stream;
  const notices = await fetch("api/v1/notices?limit=20", { headers: headers() });
  if (!notices.ok) throw new Error("HTTP " + notices.status);
  state.notices.clear();
  for (const one of (await notices.json()).notices.reverse()) state.notices.set(one.subject, one);
  // Unwell, it answers 503, with the same document.
  state.simulated = (await (await fetch("health")).json()).simulated === true;
}

function put(event) {
  const known = state.alerts.get(event.subject);
  if (known && known.data.revision > event.data.revision) return;
  if (event.data.change === "reminder") return;
  state.alerts.delete(event.subject);
  state.alerts.set(event.subject, event);
  if (state.alerts.size > MOST) {
    const ended = [...state.alerts].find(([, old]) => old.data.state === "cleared");
    state.alerts.delete(ended ? ended[0] : state.alerts.keys().next().value);
  }
}

async function listen() {
  const cut = new AbortController();
  const watch = setInterval(() => {
    if (Date.now() - state.heard > LOST_MS) cut.abort();
  }, 1000);
  try {
    state.heard = Date.now();
    const answer = await fetch("api/v1/events/stream", {
      headers: headers({ "Last-Event-ID": String(state.last) }),
      signal: cut.signal,
      cache: "no-store",
    });
    if (answer.status === 401) throw new Error("no_key");
    if (!answer.ok) throw new Error("HTTP " + answer.status);
    link("live");
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      state.heard = Date.now();
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      if (blocks.map(take).some(Boolean)) draw();
    }
  } finally {
    clearInterval(watch);
    cut.abort();
  }
}

function take(block) {
  const fields = {};
  for (const line of block.split("\n")) {
    const at = line.indexOf(": ");
    if (at > 0) fields[line.slice(0, at)] = line.slice(at + 2);
  }
  if (fields.id) state.last = Number(fields.id);
  if (fields.event === "alert") put(JSON.parse(fields.data));
  else if (fields.event === "notice") {
    const notice = JSON.parse(fields.data);
    state.notices.set(notice.subject, notice);
  }
  else if (fields.event === "delivery_failing") failing(JSON.parse(fields.data));
  else if (fields.event === "rules_refused") state.refused = JSON.parse(fields.data).why;
  else return false;
  return true;
}

function failing(notice) {
  const since = notice.since ?? notice.since_ms ?? null;
  if (since === null) state.failing.delete(notice.receiver);
  else state.failing.set(notice.receiver, since);
}

async function follow() {
  for (;;) {
    let wait = RETRY_MS;
    try {
      await load();
      draw();
      await listen();
      link("wait");
    } catch (error) {
      link(error.message === "no_key" ? "no_key" : "lost");
      if (error.message === "no_key") wait = 5 * RETRY_MS;
    }
    await new Promise((done) => setTimeout(done, wait));
  }
}

// Deciding

async function command(alert, action, body, card) {
  for (const button of card.querySelectorAll("button")) button.disabled = true;
  try {
    const answer = await fetch(`api/v1/alerts/${encodeURIComponent(alert)}/${action}`, {
      method: "POST",
      headers: headers({
        "Content-Type": "application/json",
        "Idempotency-Key": crypto.randomUUID ? crypto.randomUUID() : String(Math.random()).slice(2),
      }),
      body: JSON.stringify(body),
    });
    if (!answer.ok) throw new Error((await answer.json()).error.message);
    // The event that says it is done redraws the card; until then let people try again.
    setTimeout(() => {
      for (const button of card.querySelectorAll("button")) button.disabled = false;
    }, 3000);
  } catch (error) {
    for (const button of card.querySelectorAll("button")) button.disabled = false;
    card.querySelector(".failed").textContent = words().failed + error.message;
  }
}

// Drawing

function make(tag, kind, text, ...children) {
  const node = document.createElement(tag);
  if (kind) node.className = kind;
  if (text) node.textContent = text;
  node.append(...children);
  return node;
}

function draw() {
  const list = $("alerts");
  const all = [...state.alerts.values()].reverse();
  const open = all.filter((event) => event.data.state !== "cleared" && !isHeld(event.data));
  const held = all.filter((event) => event.data.state !== "cleared" && isHeld(event.data));
  const shown = { open, held, all }[state.show];
  // By the time of hearing: a fire stamped 1970 belongs on top, not at the end.
  shown.sort((a, b) => b.data.timing.heard.localeCompare(a.data.timing.heard));
  arrange(list, shown.map(cardOf));
  $("empty").hidden = shown.length > 0;
  $("empty").textContent = words().none;
  const waiting = open.filter((event) => !event.data.acknowledged).length;
  $("counts").textContent = words().counts(open.length, waiting, held.length);
  document.title = waiting ? `(${waiting}) gridwarden` : "gridwarden";
  drawNotices();
  $("simulated").hidden = !state.simulated;
  $("simulated").textContent = words().simulated;
  $("refused").hidden = !state.refused;
  $("refused").textContent = words().refused + state.refused;
  $("failing").hidden = state.failing.size === 0;
  $("failing").textContent = words().failing + [...state.failing.keys()].join(", ");
}

// Recorded, but receivers aren't told: another alert explains it, or its rule is on trial.
function isHeld(data) {
  return data.delivery !== undefined && data.delivery.state !== "deliver";
}

// The notices of the last day, newest first.
function drawNotices() {
  const recent = [...state.notices.values()].reverse()
    .filter((event) => Date.now() - Date.parse(event.recordedtime) < NOTICE_MS);
  $("notices").replaceChildren(...recent.slice(0, NOTICES)
    .map((event) => make("li", "", event.data.reason[state.language])));
  $("notices").hidden = recent.length === 0;
}

const cards = new Map(); // alert id -> { event, language, node }

function cardOf(event) {
  const known = cards.get(event.subject);
  if (known && known.event === event && known.language === state.language) return known.node;
  const node = card(event);
  cards.set(event.subject, { event, language: state.language, node });
  return node;
}

// Nodes that stay are not touched: a click under way on one of them must not be lost.
function arrange(list, nodes) {
  let at = list.firstChild;
  const kept = new Set(nodes);
  for (const node of nodes) {
    while (at && !kept.has(at)) at = drop(at);
    if (at === node) at = at.nextSibling;
    else list.insertBefore(node, at);
  }
  while (at) at = drop(at);
}

function drop(node) {
  const next = node.nextSibling;
  node.remove();
  cards.delete(node.dataset.alert);
  return next;
}

function card(event) {
  const data = event.data, text = words();
  const kinds = ["alert", "l" + data.severity, data.state === "cleared" ? "cleared" : "open",
    data.acknowledged ? "acknowledged" : "unacknowledged", isHeld(data) ? "held" : "told"];
  const node = make("li", kinds.join(" "));
  node.dataset.alert = data.alert;
  const said = middle(data, text);
  if (event.dataref) said.append(make("div", "meta", `${text.clip}: ${event.dataref}`));
  node.append(make("div", "level", data.level), said, acts(data, text, node));
  return node;
}

function middle(data, text) {
  const node = make("div", "middle");
  const own = (words) => words[state.language] || words.en || words.zh;
  node.append(
    make("div", "title", own(data.title) || data.rule.id),
    make("p", "reason", own(data.reason)),
    make("div", "place", placeOf(data.place, text)),
  );
  const { happened, heard } = data.timing;
  const age = make("time", "age", ageOf(heard));
  age.dateTime = heard;
  age.title = local(heard);
  const meta = make("div", "meta", "", age);
  if (Math.abs(Date.parse(heard) - Date.parse(happened)) > 60000) {
    meta.append(` · ${text.happened} ${local(happened)}`);
  }
  meta.append(` · ${text.device} ${data.device}`);
  if (data.rule.standard) meta.append(` · ${text.standard} ${data.rule.standard}`);
  node.append(meta);
  if (own(data.runbook)) node.append(make("div", "meta", `${text.runbook}: ${own(data.runbook)}`));
  node.append(tags(data, text));
  return node;
}

function tags(data, text) {
  const node = make("div", "tags", "", make("span", "tag state", text[data.state]));
  node.append(make("span", data.acknowledged ? "tag" : "tag bad",
    data.acknowledged ? text.acknowledged : text.unacknowledged));
  if (data.level_name) {
    node.append(make("span", "tag", text.levels[data.level_name] || data.level_name));
  }
  if (data.flapping) node.append(make("span", "tag doubt", text.flapping));
  if (data.severity_worst < data.severity) node.append(make("span", "tag", text.fallen));
  if (data.unknown) node.append(make("span", "tag bad", text.unknown));
  if (isHeld(data)) {
    const by = data.delivery.rule;
    const tag = make("span", "tag held", text[data.delivery.state] + (by ? `: ${by}` : ""));
    tag.title = data.delivery.alert;
    node.append(tag);
  }
  if (data.onsets > 1) node.append(make("span", "tag", data.onsets + text.onsets));
  if (data.disposition) {
    node.append(make("span", "tag", `${text.disposition}: ${text[data.disposition]}`));
  }
  if (data.rule.removed) node.append(make("span", "tag doubt", text.removed));
  for (const note of data.annotations) {
    node.append(make("span", "tag doubt", text.notes[note] || note));
  }
  return node;
}

function acts(data, text, card) {
  const button = (kind, label, action, body, off) => {
    const node = make("button", kind, label);
    node.type = "button";
    node.dataset.act = body.disposition || action;
    node.disabled = off;
    node.addEventListener("click", () => command(data.alert, action, body, card));
    return node;
  };
  const judge = (what) => button(data.disposition === what ? "on" : "", text[what],
    "disposition", { disposition: what }, data.disposition === what);
  return make("div", "acts", "",
    button("main", text.acknowledge, "acknowledge", {}, data.acknowledged),
    twice(button("", text.reset, "reset", {}, data.state === "cleared"), text.sure),
    make("div", "row", "", judge("real"), judge("false"), judge("drill")),
    make("div", "failed"));
}

// A reset ends a fire alert for good, so it wants a second click.
function twice(button, question) {
  const label = button.textContent;
  button.addEventListener("click", (click) => {
    if (button.dataset.armed) return;
    click.stopImmediatePropagation();
    button.dataset.armed = "yes";
    button.textContent = question;
    setTimeout(() => {
      delete button.dataset.armed;
      button.textContent = label;
    }, 4000);
  }, { capture: true });
  return button;
}

function placeOf(place, text) {
  const levels = [place.district, place.street, place.community, place.grid]
    .map((area) => area.name || area.code).filter(Boolean);
  const spot = [];
  for (const part of ["building", "unit", "floor"]) {
    if (place[part]) {
      // "12" needs its word, "3号楼" has its own.
      const word = /^[\x20-\x7e]+$/.test(place[part]) ? text[part] : "";
      spot.push(state.language === "zh" ? place[part] + word : word + place[part]);
    }
  }
  const code = place.grid.code ? ` (${place.grid.code})` : "";
  return [...levels, ...spot].join(" › ") + code || text.place;
}

function ageOf(time) {
  const text = words();
  const seconds = Math.floor((Date.now() - Date.parse(time)) / 1000);
  if (seconds < 2) return text.now;
  for (const [size, name] of [[86400, "d"], [3600, "h"], [60, "m"], [1, "s"]]) {
    if (seconds >= size) return Math.floor(seconds / size) + text[name] + text.ago;
  }
  return "";
}

function local(time) {
  return new Date(time).toLocaleString(state.language === "zh" ? "zh-CN" : "en-GB");
}

function link(now) {
  state.link = now;
  const lost = now === "lost" || now === "no_key";
  $("link").className = "link " + (lost ? "lost" : now);
  $("link").textContent = lost ? "" : words()[now];
  $("lost").hidden = !lost;
  $("lost").textContent = lost ? words()[now] : "";
}

function relabel() {
  document.documentElement.lang = state.language;
  $("heading").textContent = words().heading;
  $("language").textContent = words().language;
  for (const button of document.querySelectorAll("nav button")) {
    button.textContent = words()[button.dataset.show];
    button.classList.toggle("on", button.dataset.show === state.show);
  }
  link(state.link);
  draw();
}

$("language").addEventListener("click", () => {
  state.language = state.language === "zh" ? "en" : "zh";
  localStorage.setItem("language", state.language);
  relabel();
});
for (const button of document.querySelectorAll("nav button")) {
  button.addEventListener("click", () => {
    state.show = button.dataset.show;
    relabel();
  });
}
setInterval(() => {
  for (const age of document.querySelectorAll("time.age")) age.textContent = ageOf(age.dateTime);
}, 1000);
relabel();
follow();
