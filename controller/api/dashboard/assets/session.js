// A pod's log and a terminal in it, over the very streams that kubectl uses.

import { headers, tokenOf } from "./app.js";
import { element } from "./charts.js";
import { Terminal } from "./terminal.js";

const $ = (id) => document.getElementById(id);
// As an API server takes them: a browser cannot give a WebSocket headers, and an address is no place for a token.
const BEARER = "base64url.bearer.authorization.k8s.io.";
const V5 = "v5.channel.k8s.io";
const [STDIN, STDOUT, STDERR, ERROR, RESIZE] = [0, 1, 2, 3, 4];
const LONGEST = 2_000_000;
let end = () => {};

const base = () => new URL("../", location.href);
const path = (pod, part) => new URL(`api/v1/namespaces/${pod.namespace}/pods/${pod.name}/${part}`, base());

function open(pod, title, begin) {
  end();
  $("session-title").textContent = `${title} of ${pod.namespace}/${pod.name}`;
  const names = [...pod.containers, ...(title === "Log" ? pod.inits : [])];
  $("session-container").replaceChildren(...names.map((name) => element("option", { value: name }, name)));
  $("session-container").hidden = names.length < 2;
  const restart = () => { end(); end = begin($("session-container").value) || (() => {}); };
  $("session-container").onchange = restart;
  if (!$("session").open) $("session").showModal();
  restart();
}

const say = (text, kind = "") => { $("session-state").textContent = text; $("session-state").className = `badge ${kind}`; };

$("session-close").addEventListener("click", () => $("session").close());
// The event comes a moment after the closing, when another session may have been opened.
$("session").addEventListener("close", () => { if (!$("session").open) { end(); end = () => {}; } });
// Escape belongs to what runs in the terminal.
$("session").addEventListener("cancel", (event) => { if (!$("session-terminal").hidden) event.preventDefault(); });

export function openLog(pod) {
  open(pod, "Log", (container) => {
    const place = $("session-log"), stop = new AbortController();
    $("session-terminal").hidden = true; place.hidden = false; place.textContent = "";
    follow(pod, container, place, stop.signal);
    return () => stop.abort();
  });
}

async function follow(pod, container, place, signal) {
  const url = path(pod, "log");
  url.search = new URLSearchParams({ container, follow: "true", tailLines: "2000" });
  say("following", "good");
  try {
    const answer = await fetch(url, { headers: headers(), signal, cache: "no-store", credentials: "omit" });
    if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).message || `HTTP ${answer.status}`);
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      const atEnd = place.scrollHeight - place.scrollTop - place.clientHeight < 40;
      place.append(value);
      place.normalize();
      if (place.firstChild && place.firstChild.length > LONGEST) place.firstChild.deleteData(0, place.firstChild.length - LONGEST / 2);
      if (atEnd) place.scrollTop = place.scrollHeight;
    }
    say("the log has ended");
  } catch (error) {
    if (!signal.aborted) say(error.message, "bad");
  }
}

export function openTerminal(pod) {
  open(pod, "Terminal", (container) => {
    const place = $("session-terminal");
    $("session-log").hidden = true; place.hidden = false;
    return shell(pod, container, place);
  });
}

function bearer() {
  const bytes = new TextEncoder().encode(tokenOf());
  const text = btoa(String.fromCharCode(...bytes));
  return BEARER + text.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

function shell(pod, container, place) {
  const url = path(pod, "exec");
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  const asked = new URLSearchParams({ container, stdin: "true", stdout: "true", tty: "true" });
  // The best shell that there is; a login shell's files are read by bash alone.
  for (const word of ["sh", "-c", "TERM=xterm-256color; export TERM; command -v bash >/dev/null && exec bash; exec sh"]) asked.append("command", word);
  url.search = asked;
  const socket = new WebSocket(url, tokenOf() ? [V5, bearer()] : [V5]);
  socket.binaryType = "arraybuffer";
  const send = (channel, bytes) => {
    if (socket.readyState !== WebSocket.OPEN) return;
    const message = new Uint8Array(bytes.length + 1);
    message[0] = channel;
    message.set(bytes, 1);
    socket.send(message);
  };
  const encoder = new TextEncoder();
  const terminal = new Terminal(place, (text) => send(STDIN, encoder.encode(text)),
    (columns, rows) => send(RESIZE, encoder.encode(JSON.stringify({ Width: columns, Height: rows }))));
  let told = "", left = false;
  say("connecting");
  socket.onopen = () => { say("connected", "good"); terminal.fit(); place.focus(); };
  socket.onmessage = ({ data }) => {
    const bytes = new Uint8Array(data);
    if (bytes[0] === STDOUT || bytes[0] === STDERR) terminal.write(bytes.subarray(1));
    else if (bytes[0] === ERROR) told = new TextDecoder().decode(bytes.subarray(1));
  };
  socket.onclose = () => {
    if (left) return;
    let said = "the connection has ended";
    try {
      const status = JSON.parse(told);
      said = status.status === "Success" ? "ended" : status.message;
    } catch { /* no status came */ }
    say(said, said === "ended" ? "" : "bad");
    terminal.ended();
  };
  return () => { left = true; terminal.drop(); socket.close(); };
}
