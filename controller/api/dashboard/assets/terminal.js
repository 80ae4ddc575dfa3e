// A terminal: what programs write for xterm, as far as shells, editors and pagers need it. Rows are drawn as text.

const COLOURS = ["#1c2725", "#e5626a", "#6cc08b", "#e2b55a", "#6ea4f0", "#c58af0", "#4fc3c7", "#d6e0dd",
  "#5d6f6b", "#ff8088", "#86e0a6", "#ffd079", "#90beff", "#dba8ff", "#72e1e5", "#ffffff"];
const PLAIN = Object.freeze({ fg: null, bg: null, bold: false, dim: false, under: false, inverse: false });
const KEYS = { ArrowUp: "A", ArrowDown: "B", ArrowRight: "C", ArrowLeft: "D", Home: "H", End: "F" };
const OTHERS = { Enter: "\r", Backspace: "\x7f", Tab: "\t", Escape: "\x1b", Delete: "\x1b[3~", Insert: "\x1b[2~",
  PageUp: "\x1b[5~", PageDown: "\x1b[6~", F1: "\x1bOP", F2: "\x1bOQ", F3: "\x1bOR", F4: "\x1bOS", F5: "\x1b[15~",
  F6: "\x1b[17~", F7: "\x1b[18~", F8: "\x1b[19~", F9: "\x1b[20~", F10: "\x1b[21~", F11: "\x1b[23~", F12: "\x1b[24~" };

function indexed(number) {
  if (number < 16) return COLOURS[number];
  if (number > 231) { const grey = 8 + (number - 232) * 10; return `rgb(${grey},${grey},${grey})`; }
  const level = (part) => (part ? 55 + part * 40 : 0), rest = number - 16;
  return `rgb(${level(Math.floor(rest / 36))},${level(Math.floor(rest / 6) % 6)},${level(rest % 6)})`;
}

export class Terminal {
  constructor(place, send, resized) {
    Object.assign(this, { place, send, resized, columns: 80, rows: 24, decoder: new TextDecoder(), held: "" });
    this.reset();
    const stop = this.stop = new AbortController(), signal = stop.signal;
    place.addEventListener("keydown", (event) => this.key(event), { signal });
    place.addEventListener("paste", (event) => {
      event.preventDefault();
      const text = event.clipboardData.getData("text").replaceAll("\r\n", "\r").replaceAll("\n", "\r");
      // Who pastes gives no commands: the end of the brackets must not be in what is pasted.
      this.send(this.bracketed ? `\x1b[200~${text.replaceAll("\x1b", "")}\x1b[201~` : text);
    }, { signal });
    this.watching = new ResizeObserver(() => this.fit());
    this.watching.observe(place);
    this.draw();
  }

  reset() {
    Object.assign(this, { x: 0, y: 0, pen: PLAIN, saved: [0, 0, PLAIN], top: 0, bottom: this.rows - 1, wrapping: false,
      application: false, bracketed: false, cursor: true, other: null });
    this.lines = Array.from({ length: this.rows }, () => this.blank());
  }

  /** To the place that was saved, which may lie outside since the window became smaller. */
  restore() {
    const [x, y, pen] = this.saved;
    Object.assign(this, { x: Math.min(x, this.columns - 1), y: Math.min(y, this.rows - 1), pen });
  }

  blank() { return Array.from({ length: this.columns }, () => [" ", PLAIN]); }

  drop() { this.stop.abort(); this.watching.disconnect(); cancelAnimationFrame(this.frame); }

  ended() { this.cursor = false; this.draw(); }

  /** As many columns and rows as there is room for. */
  fit() {
    const probe = document.createElement("span");
    probe.textContent = "M".repeat(40);
    this.place.append(probe);
    const wide = probe.getBoundingClientRect().width / 40, high = parseFloat(getComputedStyle(this.place).lineHeight);
    probe.remove();
    const style = getComputedStyle(this.place);
    const columns = Math.max(20, Math.floor((this.place.clientWidth - parseFloat(style.paddingLeft) * 2) / wide));
    const rows = Math.max(5, Math.floor((this.place.clientHeight - parseFloat(style.paddingTop) * 2) / high));
    if (columns !== this.columns || rows !== this.rows) this.size(columns, rows);
    this.resized(columns, rows);
  }

  size(columns, rows) {
    const spare = Math.max(0, this.y + 1 - rows);
    this.lines.splice(0, spare);
    this.y -= spare;
    Object.assign(this, { columns, rows, top: 0, bottom: rows - 1 });
    const cut = (line) => line.length > columns ? line.slice(0, columns) : [...line, ...Array.from({ length: columns - line.length }, () => [" ", PLAIN])];
    this.lines = this.lines.slice(0, rows).map(cut);
    while (this.lines.length < rows) this.lines.push(this.blank());
    this.x = Math.min(this.x, columns - 1);
    this.draw();
  }

  key(event) {
    const { key, ctrlKey, altKey, metaKey, shiftKey } = event;
    if (metaKey || (ctrlKey && shiftKey) || (ctrlKey && key === "v")) return;
    if (ctrlKey && key === "c" && !document.getSelection().isCollapsed) return;
    let text = null;
    if (KEYS[key]) text = ctrlKey ? `\x1b[1;5${KEYS[key]}` : (this.application ? "\x1bO" : "\x1b[") + KEYS[key];
    else if (OTHERS[key]) text = key === "Tab" && shiftKey ? "\x1b[Z" : OTHERS[key];
    else if (key.length === 1 && ctrlKey) {
      const code = key === " " ? 0 : key.toUpperCase().charCodeAt(0) - 64;
      if (code >= 0 && code < 32) text = String.fromCharCode(code);
    } else if ([...key].length === 1) text = key;
    if (text === null) return;
    event.preventDefault();
    this.send(altKey && text.length === 1 ? `\x1b${text}` : text);
  }

  write(bytes) {
    let text = this.held + this.decoder.decode(bytes, { stream: true });
    this.held = "";
    for (let at = 0; at < text.length;) {
      const char = text[at];
      if (char === "\x1b") {
        const taken = this.escape(text, at);
        if (taken === 0) { this.held = text.length - at < 4096 ? text.slice(at) : ""; break; }
        at += taken;
      } else if (char < " " || char === "\x7f") { this.control(char); at++; }
      else { const whole = String.fromCodePoint(text.codePointAt(at)); this.put(whole); at += whole.length; }
    }
    if (!this.frame) this.frame = requestAnimationFrame(() => { this.frame = 0; this.draw(); });
  }

  control(char) {
    if (char === "\r") this.x = 0;
    else if (char === "\n" || char === "\v" || char === "\f") this.feed();
    else if (char === "\b") this.x = Math.max(0, this.x - 1);
    else if (char === "\t") this.x = Math.min(this.columns - 1, (Math.floor(this.x / 8) + 1) * 8);
    else return;
    this.wrapping = false;
  }

  put(char) {
    if (this.wrapping) { this.x = 0; this.feed(); this.wrapping = false; }
    this.lines[this.y][this.x] = [char, this.pen];
    if (this.x === this.columns - 1) this.wrapping = true;
    else this.x++;
  }

  feed() {
    if (this.y === this.bottom) this.scroll(1);
    else if (this.y < this.rows - 1) this.y++;
  }

  scroll(count, from = this.top) {
    for (let n = 0; n < Math.min(Math.abs(count), this.rows); n++) {
      if (count > 0) { this.lines.splice(from, 1); this.lines.splice(this.bottom, 0, this.blank()); }
      else { this.lines.splice(this.bottom, 1); this.lines.splice(from, 0, this.blank()); }
    }
  }

  /** How many characters an escape sequence takes; 0 where its end has not come yet. */
  escape(text, at) {
    const kind = text[at + 1];
    if (kind === undefined) return 0;
    if (kind === "[") {
      let to = at + 2;
      while (to < text.length && (text[to] < "@" || text[to] > "~")) to++;
      if (to >= text.length) return 0;
      this.sequence(text.slice(at + 2, to), text[to]);
      return to + 1 - at;
    }
    if ("]PX^_".includes(kind)) {
      for (let to = at + 2; to < text.length; to++) {
        if (text[to] === "\x07") return to + 1 - at;
        if (text[to] === "\x1b" && text[to + 1] === "\\") return to + 2 - at;
      }
      return 0;
    }
    if ("()*+#%".includes(kind)) return text[at + 2] === undefined ? 0 : 3;
    if (kind === "7") this.saved = [this.x, this.y, this.pen];
    else if (kind === "8") this.restore();
    else if (kind === "D") this.feed();
    else if (kind === "E") { this.x = 0; this.feed(); }
    else if (kind === "M") { if (this.y === this.top) this.scroll(-1); else this.y = Math.max(0, this.y - 1); }
    else if (kind === "c") this.reset();
    this.wrapping = false;
    return 2;
  }

  sequence(given, what) {
    const mark = "?>=!".includes(given[0] || "-") ? given[0] : "";
    const numbers = given.slice(mark.length).split(/[;:]/).map((part) => (part === "" ? null : parseInt(part, 10)));
    const n = Math.max(1, numbers[0] || 1), line = () => this.lines[this.y];
    const within = (value, most) => Math.max(0, Math.min(most, value));
    if (what !== "m") this.wrapping = false;
    if (mark === "?" && (what === "h" || what === "l")) { numbers.forEach((mode) => this.mode(mode, what === "h")); return; }
    if (mark && what !== "c") return;
    switch (what) {
      case "A": this.y = within(this.y - n, this.rows - 1); break;
      case "B": case "e": this.y = within(this.y + n, this.rows - 1); break;
      case "C": case "a": this.x = within(this.x + n, this.columns - 1); break;
      case "D": this.x = within(this.x - n, this.columns - 1); break;
      case "E": this.x = 0; this.y = within(this.y + n, this.rows - 1); break;
      case "F": this.x = 0; this.y = within(this.y - n, this.rows - 1); break;
      case "G": case "`": this.x = within(n - 1, this.columns - 1); break;
      case "d": this.y = within(n - 1, this.rows - 1); break;
      case "H": case "f": this.y = within(n - 1, this.rows - 1); this.x = within((numbers[1] || 1) - 1, this.columns - 1); break;
      case "J": this.erase(numbers[0] || 0); break;
      case "K": this.clear(this.y, numbers[0] === 1 || numbers[0] === 2 ? 0 : this.x, numbers[0] === 1 ? this.x + 1 : this.columns); break;
      case "X": this.clear(this.y, this.x, Math.min(this.columns, this.x + n)); break;
      case "P": line().splice(this.x, Math.min(n, this.columns - this.x)); while (line().length < this.columns) line().push([" ", PLAIN]); break;
      case "@": line().splice(this.x, 0, ...Array.from({ length: Math.min(n, this.columns) }, () => [" ", PLAIN])); line().length = this.columns; break;
      case "L": if (this.y >= this.top && this.y <= this.bottom) this.scroll(-n, this.y); break;
      case "M": if (this.y >= this.top && this.y <= this.bottom) this.scroll(n, this.y); break;
      case "S": this.scroll(n); break;
      case "T": this.scroll(-n); break;
      case "r":
        this.top = within((numbers[0] || 1) - 1, this.rows - 1);
        this.bottom = within((numbers[1] || this.rows) - 1, this.rows - 1);
        if (this.top >= this.bottom) { this.top = 0; this.bottom = this.rows - 1; }
        this.x = this.y = 0;
        break;
      case "s": this.saved = [this.x, this.y, this.pen]; break;
      case "u": this.restore(); break;
      case "n": if (numbers[0] === 6) this.send(`\x1b[${this.y + 1};${this.x + 1}R`); else if (numbers[0] === 5) this.send("\x1b[0n"); break;
      case "c": if (mark !== ">") this.send("\x1b[?6c"); break;
      case "m": this.style(numbers); break;
    }
  }

  mode(mode, on) {
    if (mode === 1) this.application = on;
    else if (mode === 25) this.cursor = on;
    else if (mode === 2004) this.bracketed = on;
    else if (mode === 1049 || mode === 47 || mode === 1047) {
      if (on && !this.other) {
        this.other = [this.lines, this.x, this.y];
        this.lines = Array.from({ length: this.rows }, () => this.blank());
      } else if (!on && this.other) {
        const [lines, x, y] = this.other;
        this.other = null;
        this.lines = lines;
        [this.x, this.y] = [x, Math.min(y, this.rows - 1)];
        this.size(this.columns, this.rows);
      }
    }
  }

  clear(row, from, to) { for (let x = from; x < to; x++) this.lines[row][x] = [" ", this.pen.bg ? { ...PLAIN, bg: this.pen.bg } : PLAIN]; }

  erase(what) {
    const rows = what === 0 ? [this.y + 1, this.rows] : what === 1 ? [0, this.y] : [0, this.rows];
    for (let row = rows[0]; row < rows[1]; row++) this.clear(row, 0, this.columns);
    if (what === 0) this.clear(this.y, this.x, this.columns);
    if (what === 1) this.clear(this.y, 0, this.x + 1);
  }

  style(numbers) {
    for (let at = 0; at < numbers.length; at++) {
      const code = numbers[at] || 0, pen = { ...this.pen };
      if (code === 0) Object.assign(pen, PLAIN);
      else if (code === 1) pen.bold = true;
      else if (code === 2) pen.dim = true;
      else if (code === 4) pen.under = true;
      else if (code === 7) pen.inverse = true;
      else if (code === 22) pen.bold = pen.dim = false;
      else if (code === 24) pen.under = false;
      else if (code === 27) pen.inverse = false;
      else if (code === 39) pen.fg = null;
      else if (code === 49) pen.bg = null;
      else if (code >= 30 && code < 38) pen.fg = COLOURS[code - 30];
      else if (code >= 40 && code < 48) pen.bg = COLOURS[code - 40];
      else if (code >= 90 && code < 98) pen.fg = COLOURS[code - 82];
      else if (code >= 100 && code < 108) pen.bg = COLOURS[code - 92];
      else if (code === 38 || code === 48) {
        const which = code === 38 ? "fg" : "bg";
        if (numbers[at + 1] === 5) { pen[which] = indexed(numbers[at + 2] || 0); at += 2; }
        else if (numbers[at + 1] === 2) { pen[which] = `rgb(${numbers.slice(at + 2, at + 5).map((one) => one || 0).join(",")})`; at += 4; }
      }
      this.pen = Object.freeze(pen);
    }
  }

  draw() {
    const made = this.lines.map((line, row) => {
      const drawn = document.createElement("div");
      drawn.className = "row";
      let text = "", pen = PLAIN;
      const flush = () => {
        if (!text) return;
        if (pen === PLAIN) drawn.append(text);
        else drawn.append(this.span(text, pen));
        text = "";
      };
      line.forEach(([char, style], column) => {
        const here = this.cursor && row === this.y && column === this.x;
        if (here || style !== pen) { flush(); pen = style; }
        text += char;
        if (here) {
          const span = this.span(text, pen);
          span.classList.add("cursor");
          drawn.append(span);
          text = "";
        }
      });
      flush();
      return drawn;
    });
    this.place.replaceChildren(...made);
  }

  span(text, pen) {
    const span = document.createElement("span");
    span.textContent = text;
    const fg = pen.inverse ? pen.bg || "#0b1110" : pen.fg, bg = pen.inverse ? pen.fg || "#dce7e4" : pen.bg;
    if (fg) span.style.color = fg;
    if (bg) span.style.backgroundColor = bg;
    if (pen.bold) span.style.fontWeight = "bold";
    if (pen.dim) span.style.opacity = "0.65";
    if (pen.under) span.style.textDecoration = "underline";
    return span;
  }
}
