"use strict";
// All that comes from the server is put in with textContent: a tool's name or a request is text, whatever it looks like.

const $ = (id) => document.getElementById(id);
const state = { token: "", set: null, said: null, place: 0, point: 0, points: [], forced: null, forcing: null, demonstrations: [] };

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "class") made.className = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

const signed = (value) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(2);
const percent = (value) => (value * 100).toFixed(value < 0.1 ? 1 : 0) + "%";
const visible = (token) => token.replaceAll("\n", "⏎") || " ";

async function send(path, body, signal) {
  const headers = { "Content-Type": "application/json" };
  if (state.token) headers.Authorization = "Bearer " + state.token;
  const options = body === undefined ? { headers } : { method: "POST", headers, body: JSON.stringify(body), signal };
  const answer = await fetch(path, options);
  if (answer.status === 401) $("token-form").hidden = false;
  if (!answer.ok) {
    const told = await answer.json().catch(() => null);
    throw new Error(told?.error?.message ?? `the server answered ${answer.status}`);
  }
  return answer;
}

const ask = async (path, body) => (await send(path, body)).json();

// Server-sent events as they come. EventSource can't be used: it sends no body and no token.
async function* events(path, body, signal) {
  const reader = (await send(path, body, signal)).body.pipeThrough(new TextDecoderStream()).getReader();
  let read = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Error("the server ended the answer early");
    const whole = (read + value).split("\n\n");
    read = whole.pop();
    for (const event of whole) {
      const data = event.slice("data: ".length);
      if (data === "[DONE]") return;
      yield JSON.parse(data);
    }
  }
}

function say(text, fault = false) {
  $("status").textContent = text;
  $("status").className = fault ? "fault" : "";
}

async function busy(work) {
  try {
    await work();
  } catch (error) {
    say(error.message, true);
  }
}

// --- the set ---------------------------------------------------------------------------------------------------------

async function loadSet() {
  state.set = await ask("/toolken/set");
  $("token-form").hidden = true;
  $("about").textContent = `${state.set.tools.length} tools on ${state.set.model_id}`;
  $("tool-names").replaceChildren(...state.set.tools.map((tool) => element("option", { value: tool.name })));
  const rows = state.set.confusions.slice(0, 20).map((pair) => {
    const cells = [pair.due, pair.called, String(Math.round(pair.count * 10) / 10)];
    return element("tr", {}, ...cells.map((text) => element("td", {}, text)));
  });
  $("confusion-rows").replaceChildren(...rows);
  $("confusions").hidden = rows.length === 0;
}

// --- a request -------------------------------------------------------------------------------------------------------

async function look() {
  const request = $("request").value.trim();
  if (!request) return;
  state.forcing?.abort();
  say("Looking …");
  $("go").disabled = true;
  try {
    state.said = await ask("/toolken/explain", { request });
  } finally {
    $("go").disabled = false;
  }
  say("");
  state.place = state.said.looked_at;
  state.forced = null;
  $("call").hidden = true;
  $("why-answer").replaceChildren();
  $("result").hidden = false;
  makePoints();
  showTimeline();
  showBars();
  const { prompt_tokens: read, described_tokens: described } = state.said;
  $("saved").textContent = described === null
    ? `The prompt has ${read} tokens; no tool is in it.`
    : `The prompt has ${read} tokens. Describing all tools would make it ${described}: ${described - read} are saved.`;
}

// Operating points from few false calls to many; the set's own is where the margin is 0.
function makePoints() {
  const known = state.said.points.map((point) => ({ margin: point.margin, falseCalls: point.false_calls }));
  if (!known.length) {
    for (let margin = 6; margin >= -6; margin -= 0.5) known.push({ margin, falseCalls: null });
  }
  if (!known.some((point) => point.margin === 0)) known.push({ margin: 0, falseCalls: null });
  known.sort((one, other) => other.margin - one.margin);
  state.points = known;
  state.point = known.findIndex((point) => point.margin === 0);
  $("point").max = String(known.length - 1);
  $("point").value = String(state.point);
}

function meaning(point) {
  const own = point.margin === 0 ? "the set's own point" : `${signed(point.margin)} nats from the set's own`;
  if (point.falseCalls !== null) {
    return `${own}: a call for ${percent(point.falseCalls)} of the held-out requests that need none`;
  }
  const below = state.said.points.filter((one) => one.margin >= point.margin).at(-1);
  const above = state.said.points.find((one) => one.margin <= point.margin);
  if (below && above) {
    return `${own}: a call for ${percent(below.false_calls)} to ${percent(above.false_calls)} of the held-out requests that need none`;
  }
  const rate = state.set.false_call_rate;
  if (point.margin === 0 && rate !== null) return `${own}: a call at ${percent(rate)} of the held-out positions without one`;
  return `${own}; its false-call rate was not measured`;
}

const needed = () => state.points[state.point].margin;
const firesAt = () => state.said.places.findIndex((place) => place.margin > needed());

function showTimeline() {
  const fires = firesAt();
  const made = state.said.places.map((place, at) => {
    const share = element("span", { class: "share" });
    share.style.height = Math.round(place.call * 100) + "%";
    const over = place.margin > needed();
    const label = `Place ${at}, ${place.text ? `before “${place.text.trim() || "space"}”` : "the end"}: P(call) ` +
      `${place.call.toFixed(2)}, ${place.tools[0].tool}${at === fires ? ", fires here" : ""}`;
    return element(
      "button",
      {
        type: "button", role: "option", class: "place" + (over ? " over" : ""), "aria-label": label,
        "aria-selected": String(at === state.place), tabindex: at === state.place ? "0" : "-1", title: label,
      },
      element("span", { class: "mark", "aria-hidden": "true" }, at === fires ? "▼" : ""),
      element("span", { class: "track" }, share),
      element("span", { class: "token" }, place.text ? visible(place.text) : "∎"),
    );
  });
  $("timeline").replaceChildren(...made);
  $("point-means").textContent = meaning(state.points[state.point]);
  $("point").setAttribute("aria-valuetext", $("point-means").textContent);
  if (fires < 0) {
    $("verdict").textContent = "Nothing fires: the answer stays words.";
  } else {
    const place = state.said.places[fires];
    const where = fires === 0 ? "at once" : `after ${fires} tokens`;
    $("verdict").textContent = `${place.tools[0].tool} fires ${where}, ${(place.margin - needed()).toFixed(2)} nats above the operating point.`;
  }
}

function choosePlace(at, focus) {
  state.place = Math.max(0, Math.min(at, state.said.places.length - 1));
  showTimeline();
  showBars();
  if (focus) {
    const chosen = $("timeline").children[state.place];
    chosen.focus();
    chosen.scrollIntoView({ block: "nearest", inline: "nearest" });
  }
}

function showBars() {
  const place = state.said.places[state.place];
  $("which-place").textContent = `at place ${state.place} of the answer`;
  const all = place.tools.flatMap((tool) => Object.values(tool.parts).map(Math.abs));
  const widest = Math.max(1e-9, ...all);
  const rows = place.tools.map((tool) => bar(tool.tool, tool.probability, tool, widest));
  const none = bar("no call", 1 - place.call, null, widest);
  const before = place.tools.findIndex((tool) => tool.probability < 1 - place.call);
  rows.splice(before < 0 ? rows.length : before, 0, none);
  $("bars").replaceChildren(...rows);
}

function bar(name, probability, tool, widest) {
  const filled = element("span");
  filled.style.width = (probability * 100).toFixed(2) + "%";
  const label = tool === null
    ? element("span", { class: "none" }, name)
    : element("button", { type: "button", "data-tool": name, "aria-label": `Force ${name}` }, name);
  const row = element("li", {}, element(
    "div", { class: "tool" }, label, element("span", { class: "bar", "aria-hidden": "true" }, filled),
    element("span", { class: "number" }, probability.toFixed(3)),
  ));
  if (tool !== null) {
    const parts = Object.entries(tool.parts).map(([part, value]) => {
      const piece = element("span", value < 0 ? { class: "minus" } : {});
      const width = (Math.abs(value) / widest) * 50;
      piece.style.width = width + "%";
      piece.style.left = (value < 0 ? 50 - width : 50) + "%";
      return element("li", {}, element("span", { class: "part", "aria-hidden": "true" }, piece), `${part} ${signed(value)}`);
    });
    row.append(element("ul", { class: "parts", "aria-label": `Parts of the score of ${name}` }, ...parts));
  }
  return row;
}

// --- a forced call ---------------------------------------------------------------------------------------------------

// Another bar, another request or leaving the page ends the decoding.
async function force(name) {
  state.forcing?.abort();
  const mine = (state.forcing = new AbortController());
  state.forced = name;
  $("call-tool").textContent = name;
  $("call-signature").textContent = state.set.tools.find((tool) => tool.name === name)?.signature ?? name;
  $("call-arguments").replaceChildren();
  for (const id of ["call-end", "add-fault"]) $(id).textContent = "";
  $("corrected").value = "";
  $("call").hidden = false;
  $("call").scrollIntoView({ block: "nearest" });
  writing(true);
  say(`Forcing ${name} …`);
  try {
    for await (const piece of events("/toolken/force", { request: state.said.request, tool: name }, mine.signal)) {
      if (piece.error) throw new Error(piece.error.message);
      if (piece.finish_reason) $("call-end").textContent = piece.fault ?? "";
      else $("call-arguments").append(argument(piece));
    }
    $("corrected").value = $("call-arguments").textContent;
    say("");
  } catch (error) {
    if (!mine.signal.aborted) throw error;
  } finally {
    if (state.forcing === mine) writing(false);
  }
}

function writing(on) {
  $("call-arguments").setAttribute("aria-busy", String(on));
  $("add-call").disabled = on;
}

function argument(piece) {
  if (piece.allowed === 1) return element("span", {}, piece.text);
  return element("b", { class: "chosen", title: `one of ${piece.allowed} tokens that the grammar allowed` }, piece.text);
}

function addCall() {
  let given;
  try {
    given = JSON.parse($("corrected").value);
    if (given === null || typeof given !== "object" || Array.isArray(given)) throw new Error("not an object");
  } catch (error) {
    $("add-fault").textContent = `The arguments are no JSON object: ${error.message}`;
    return;
  }
  $("add-fault").textContent = "";
  const call = { name: state.forced, arguments: JSON.stringify(given) };
  const id = `call_${state.demonstrations.length + 1}`;
  add({ role: "assistant", content: "", tool_calls: [{ id, type: "function", function: call }] });
}

function addNone() {
  add({ role: "assistant", content: state.said.places.map((place) => place.text).join("").trim() });
}

function add(answer) {
  state.demonstrations.push({ messages: [{ role: "user", content: state.said.request }, answer] });
  const count = state.demonstrations.length;
  $("download").disabled = false;
  $("download").textContent = `Download ${count} demonstration${count === 1 ? "" : "s"}`;
}

function download() {
  const lines = state.demonstrations.map((row) => JSON.stringify(row) + "\n");
  const address = URL.createObjectURL(new Blob(lines, { type: "application/jsonl" }));
  const link = element("a", { href: address, download: "demonstrations.jsonl" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

// --- why not ---------------------------------------------------------------------------------------------------------

async function whyNot() {
  const tool = $("why-tool").value;
  const told = await ask("/toolken/why", { request: state.said.request, tool, place: state.place });
  const facts = [["rank", `${told.score.rank} of ${told.of}, P ${told.score.probability.toFixed(3)}`]];
  if (told.score.rank > 1) {
    facts.push(["gap", `${told.gap.toFixed(2)} nats below ${told.first.tool}`]);
    const apart = Object.entries(told.score.parts).map(([part, value]) => [part, value - told.first.parts[part]]);
    apart.sort((one, other) => one[1] - other[1]);
    facts.push([`compared with ${told.first.tool}`, apart.map(([part, value]) => `${part} ${signed(value)}`).join(", ")]);
  }
  facts.push(["would fire", missing(told)]);
  for (const example of told.nearest) facts.push([`nearest of ${tool}`, shownExample(example)]);
  if (!told.nearest.length) facts.push([`nearest of ${tool}`, "the set keeps no demonstration of it"]);
  for (const example of told.nearest_of_first) facts.push([`nearest of ${told.first.tool}`, shownExample(example)]);
  const list = element("dl");
  for (const [name, value] of facts) list.append(element("dt", {}, name), element("dd", {}, value));
  $("why-answer").replaceChildren(list);
}

function missing(told) {
  if (told.bias === 0) return "it does, at the set's own operating point";
  if (told.bias !== null) return `with ${told.bias.toFixed(2)} more bias`;
  if (told.margin <= 0 && state.said.decided_by === "gate") {
    return `with no bias: the gate calls nothing here, by ${(-told.margin).toFixed(2)} nats. Demonstrations like this request help.`;
  }
  return "with no bias: toolkens have no weight in this set's choice. Demonstrations like this request help.";
}

const shownExample = (example) => `${example.request} → ${JSON.stringify(example.arguments)}`;

// --- what people do --------------------------------------------------------------------------------------------------

function on(id, kind, work) {
  $(id).addEventListener(kind, (event) => {
    if (kind === "submit") event.preventDefault();
    busy(() => work(event));
  });
}

on("ask", "submit", look);
on("request", "keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) return look();
});
on("token-form", "submit", () => {
  state.token = $("token").value;
  sessionStorage.setItem("token", state.token);
  return loadSet();
});
on("point", "input", () => {
  state.point = Number($("point").value);
  showTimeline();
});
on("timeline", "click", (event) => {
  const place = event.target.closest(".place");
  if (place) choosePlace([...$("timeline").children].indexOf(place), true);
});
on("timeline", "keydown", (event) => {
  const to = { ArrowLeft: state.place - 1, ArrowRight: state.place + 1, Home: 0, End: Infinity }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  choosePlace(to, true);
});
on("bars", "click", (event) => {
  const button = event.target.closest("button[data-tool]");
  if (button) return force(button.dataset.tool);
});
on("add", "submit", addCall);
on("add-none", "click", addNone);
on("download", "click", download);
on("why", "submit", whyNot);

// The address may hold the token behind "#", which browsers don't send.
const given = new URLSearchParams(location.hash.slice(1)).get("token");
if (given) history.replaceState(null, "", location.pathname);
state.token = given ?? sessionStorage.getItem("token") ?? "";
if (given) sessionStorage.setItem("token", given);
busy(loadSet);
