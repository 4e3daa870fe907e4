"use strict";
// Everything that came from outside is put in as text (textContent), so no page's words become this page's markup.

const MOST_POINTS = 600;
const points = [];
const at = (id) => document.getElementById(id);
let hasEnded = false;

function make(kind, text, name) {
  const element = document.createElement(kind);
  element.textContent = text;
  if (name) element.className = name;
  return element;
}

function table(id, headings, rows) {
  const numeric = (n) => headings[n].startsWith("#") ? "number" : "";
  const head = make("tr", "");
  headings.forEach((heading, n) => head.append(make("th", heading.replace("#", ""), numeric(n))));
  const body = rows.map((cells) => {
    const row = make("tr", "");
    cells.forEach((cell, n) => row.append(make("td", String(cell), numeric(n))));
    return row;
  });
  at(id).replaceChildren(...(rows.length ? [head, ...body] : [make("caption", "none", "dim")]));
}

function graph() {
  const most = Math.max(...points, 1);
  const step = 600 / Math.max(points.length - 1, 1);
  const line = points.map((rate, n) => `${n ? "L" : "M"}${(n * step).toFixed(1)} ${(116 - 110 * rate / most).toFixed(1)}`);
  let path = at("graph").firstElementChild;
  if (!path) {
    path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    at("graph").append(path);
  }
  path.setAttribute("d", line.join(""));
  at("scale").textContent = `highest ${most.toFixed(most < 10 ? 1 : 0)}/s`;
}

function state(word) {
  at("state").textContent = word;
  at("state").className = word.split(" ")[0];
}

function show(now) {
  hasEnded = now.has_ended;
  document.title = `${now.percent} % · ${now.title}`;
  at("title").textContent = now.title;
  state(now.has_ended ? "ended" : now.is_stopping ? "stopping" : now.is_paused ? "paused" : "running");
  at("share").style.width = `${now.percent}%`;
  at("progress").textContent = now.progress;
  at("bottleneck").textContent = now.bottleneck;
  at("tiles").replaceChildren(...now.tiles.map(([name, value]) => {
    const tile = make("div", "");
    tile.append(make("b", value), make("span", name));
    return tile;
  }));
  points.push(now.urls_per_s);
  if (points.length > MOST_POINTS) points.shift();
  graph();
  table("hosts", ["host", "#in flight", "#queued", "waits for"], now.hosts);
  table("holds", ["host", "why", "#seconds left"], now.holds);
  table("errors", ["error", "#URLs"], now.errors);
  table("growing", ["URL", "#so far"], now.growing);
  table("failures", ["error", "URL", "message", "from"], now.failures);
  at("pause").textContent = now.is_paused ? "Resume" : "Pause";
  for (const id of ["pause", "stop"]) at(id).disabled = now.has_ended || now.is_stopping;
}

async function order(word) {
  const answer = await fetch(word, {method: "POST"});
  if (!answer.ok) state("lost");
}

at("pause").addEventListener("click", () => order(at("pause").textContent.toLowerCase()));
at("stop").addEventListener("click", () => {
  if (confirm("Stop this run? What is in flight may end, and the same command continues it.")) order("stop");
});
at("search").addEventListener("submit", async (event) => {
  event.preventDefault();
  at("found").textContent = "looking…";
  try {
    const answer = await fetch(`url?${new URLSearchParams({url: at("url").value.trim()})}`);
    at("found").textContent = await answer.text();
  } catch {
    at("found").textContent = "no answer: the run is over, and fetcher why tells it";
  }
});

const events = new EventSource("events");
events.addEventListener("message", (event) => show(JSON.parse(event.data)));
events.addEventListener("error", () => {
  if (hasEnded) events.close(); else state("lost");
  for (const id of ["pause", "stop"]) at(id).disabled = true;
});
