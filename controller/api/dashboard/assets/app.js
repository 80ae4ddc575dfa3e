// The dashboard: logs in as kubectl does, asks for one document every few seconds, and shows it.

import { bars, element, stacked } from "./charts.js";
import { openLog, openTerminal } from "./session.js";

const EVERY = 2000;
const $ = (id) => document.getElementById(id);
// Of this tab, and gone with it; never in an address.
let token = sessionStorage.getItem("token") || "";
let shown = null;
let timer = 0;

export const headers = () => (token ? { Authorization: `Bearer ${token}` } : {});
export const tokenOf = () => token;

async function ask() {
  const answer = await fetch("overview", { headers: headers(), cache: "no-store", credentials: "omit" });
  if (answer.status === 401) return null;
  if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).message || `HTTP ${answer.status}`);
  return answer.json();
}

async function refresh() {
  clearTimeout(timer);
  try {
    const found = await ask();
    if (found === null) { logIn(token ? "The server does not know this token (any more)." : ""); return; }
    $("login").hidden = true; $("board").hidden = false; $("leave").hidden = !token;
    $("state").textContent = "live"; $("state").className = "badge good";
    shown = found;
    render();
  } catch (error) {
    $("state").textContent = `no answer: ${error.message}`; $("state").className = "badge bad";
  }
  timer = setTimeout(refresh, document.hidden ? 5 * EVERY : EVERY);
}

function logIn(why) {
  token = ""; sessionStorage.removeItem("token");
  $("board").hidden = true; $("leave").hidden = true; $("login").hidden = false; $("state").textContent = "";
  $("login-fault").hidden = !why; $("login-fault").textContent = why;
  $("token").focus();
}

$("login-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  token = $("token").value.trim(); $("token").value = "";
  sessionStorage.setItem("token", token);
  await refresh();
});
$("leave").addEventListener("click", () => { clearTimeout(timer); shown = null; logIn(""); });
$("filter").addEventListener("input", () => shown && renderPods());
addEventListener("resize", () => shown && render());
document.addEventListener("visibilitychange", () => document.hidden || $("login").hidden && refresh());

const usd = (value) => value === 0 ? "0" : value >= 100 ? value.toFixed(0) : value >= 0.1 ? value.toFixed(2) : value.toFixed(4);

function age(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 120) return `${s}s`;
  if (s < 7200) return `${Math.floor(s / 60)}m`;
  return s < 172800 ? `${Math.floor(s / 3600)}h` : `${Math.floor(s / 86400)}d`;
}

const GROUP = { requested: "starting", launching: "starting", booting: "starting", ready: "warm", claimed: "running",
  retiring: "ending", lost: "lost", Running: "running", Pending: "starting", Failed: "lost", Succeeded: "ending", Terminating: "ending" };
const state = (name) => element("span", {}, element("i", { class: `dot ${GROUP[name] || ""}` }), name);

function render() {
  const { cells, pods, history, now } = shown;
  $("who").textContent = shown.namespace ? `namespace ${shown.namespace}` : "all namespaces";
  $("n-running").textContent = pods.filter((pod) => pod.phase === "Running").length;
  $("n-waiting").textContent = pods.filter((pod) => pod.phase === "Pending").length;
  $("n-cells").textContent = shown.cells_in_all;
  $("n-usd").textContent = usd(Object.values(shown.usd_per_hour).reduce((sum, one) => sum + one, 0));
  $("n-so-far").textContent = usd(shown.usd_so_far);
  stacked($("chart-cells"), history, now);
  const costs = Object.entries(shown.usd_per_hour), dearest = Math.max(1e-9, ...costs.map(([, value]) => value));
  bars($("spend"), costs.map(([name, value]) =>
    ({ name: name || "no pod yet (warm)", told: usd(value), parts: [["", value / dearest]] })), "No instance runs: nothing is paid.");
  bars($("pool"), shown.pool.map((one) => {
    const asked = one.hits + one.waited + one.misses;
    const told = `${one.ready}/${one.wanted} ready · ${asked ? `${Math.round((100 * one.hits) / asked)} % of ${asked} hit` : "not asked yet"}`;
    return { name: one.class, told, parts: asked ? [["", one.hits / asked], ["waited", one.waited / asked], ["missed", one.misses / asked]] : [] };
  }), shown.namespace ? "The pool is shown to who may see all namespaces." : "No class of warm cells is kept ([[standby]] in the settings).");
  renderPods();
  $("cells-count").textContent = cells.length < shown.cells_in_all ? `${cells.length} of ${shown.cells_in_all}` : "";
  fill("cells", cells.map((cell) => [cell.name, [
    cellOf("name", cell.name), cellOf("", state(cell.state)), cellOf("", cell.pod || "–"),
    cellOf("", cell.type ? `${cell.type}${cell.launch === "spot" ? " (spot)" : ""}` : "–"), cellOf("", cell.zone || "–"),
    cellOf("number", usd(cell.usd_per_hour)), cellOf("number", age(cell.age)), cellOf("", cell.why || (cell.connected ? "" : "not connected yet"))]]),
    "No cell: no pod is wanted.");
  const faults = shown.faults.map((one) => element("li", {}, element("b", {}, one.reason), ` ${one.about} `,
    element("span", { class: "quiet" }, `${age(now - one.at)} ago${one.count > 1 ? `, ${one.count} times` : ""}`), element("br"), one.message));
  $("faults").replaceChildren(faults.length ? element("ul", { class: "faults" }, ...faults) : element("p", { class: "empty" }, "None."));
}

const cellOf = (kind, content) => element("td", { class: kind }, content);

function renderPods() {
  const wanted = $("filter").value.trim().toLowerCase();
  const pods = shown.pods.filter((pod) => `${pod.namespace}/${pod.name}`.toLowerCase().includes(wanted));
  $("pods-count").textContent = pods.length < shown.pods_in_all ? `${pods.length} of ${shown.pods_in_all}` : "";
  fill("pods", pods.map((pod) => {
    const name = cellOf("name", pod.name), acts = cellOf("acts", "");
    if (pod.why) name.append(element("span", { class: "why" }, pod.why));
    if (pod.cell) acts.append(button("Log", () => openLog(pod)));
    if (pod.phase === "Running") acts.append(button("Terminal", () => openTerminal(pod)));
    return [`${pod.namespace}/${pod.name}`, [name, cellOf("", pod.namespace), cellOf("", state(pod.phase)),
      cellOf("number", `${pod.ready}/${pod.containers.length}`), cellOf("number", String(pod.restarts)),
      cellOf("number", age(shown.now - pod.since)), cellOf("", pod.cell || "–"), acts]];
  }), wanted ? "No pod has such a name." : "No pod. kubectl run web --image=nginx makes one.");
}

function button(name, act) {
  const made = element("button", { class: "small", type: "button" }, name);
  made.addEventListener("click", act);
  return made;
}

/** Fill a table, keeping the rows in which somebody has the focus or has marked something. */
function fill(id, rows, nothing) {
  const body = $(id).tBodies[0], columns = $(id).tHead.rows[0].cells.length;
  const marked = document.getSelection();
  const busy = body.contains(document.activeElement) || (marked && !marked.isCollapsed && body.contains(marked.anchorNode));
  const keys = rows.map(([key]) => key).join("\n");
  if (busy && body.dataset.keys === keys) return;
  body.dataset.keys = keys;
  if (!rows.length) {
    body.replaceChildren(element("tr", {}, element("td", { colspan: columns, class: "empty" }, nothing)));
    return;
  }
  body.replaceChildren(...rows.map(([key, cells]) => element("tr", { "data-key": key }, ...cells)));
}

refresh();
