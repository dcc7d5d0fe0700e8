// Lines over time on a canvas, in the colours of the page: sharp on any screen, dark or light.

const MARGIN = { left: 40, right: 8, top: 10, bottom: 22 };
const DAY_SECONDS = 86_400;
const STEPS_SECONDS = [30, 60, 120, 300, 600, 1800, 3600, 7200, 21_600, 43_200, ...[1, 2, 3, 7, 14, 28, 56].map((n) => n * DAY_SECONDS)];

export class Chart {
  #canvas;
  #draw = null;

  /** canvas: as wide as its place; redrawn when that, or the colours of the page, change. */
  constructor(canvas) {
    this.#canvas = canvas;
    this.observer = new ResizeObserver(() => this.redraw());
    this.observer.observe(canvas);
    this.dark = matchMedia("(prefers-color-scheme: dark)");
    this.onDark = () => this.redraw();
    this.dark.addEventListener("change", this.onDark);
  }

  close() {
    this.observer.disconnect();
    this.dark.removeEventListener("change", this.onDark);
  }

  /**
   * Draw. from, to: UNIX seconds. top, bottom: of the values. lines: [{ times, values, colour, area }], area: to the
   * values of another line. level: { value, colour }, a line across. spans: [{ from, to, colour }], behind all.
   * plain: whether only the spans matter, and no values are written beside them.
   */
  draw(content) {
    this.#draw = content;
    this.redraw();
  }

  redraw() {
    const content = this.#draw;
    const box = this.#canvas.getBoundingClientRect();
    if (!content || !box.width) return;
    const scale = devicePixelRatio || 1;
    this.#canvas.width = Math.round(box.width * scale);
    this.#canvas.height = Math.round(box.height * scale);
    const context = this.#canvas.getContext("2d");
    context.scale(scale, scale);
    context.font = "12px system-ui, sans-serif";
    new Drawing(context, box, content, getComputedStyle(this.#canvas)).all();
  }

  /** Return the time at a place of the canvas, in its own pixels from the left. */
  timeAt(x) {
    const width = this.#canvas.getBoundingClientRect().width - MARGIN.left - MARGIN.right;
    const share = Math.min(Math.max((x - MARGIN.left) / width, 0), 1);
    return this.#draw.from + share * (this.#draw.to - this.#draw.from);
  }
}

class Drawing {
  constructor(context, box, content, style) {
    Object.assign(this, { context, content });
    this.width = box.width - MARGIN.left - MARGIN.right;
    this.height = box.height - MARGIN.top - MARGIN.bottom;
    this.colour = (name) => style.getPropertyValue(`--${name}`);
  }

  x(time) {
    const { from, to } = this.content;
    return MARGIN.left + ((time - from) / (to - from)) * this.width;
  }

  y(value) {
    const { top, bottom } = this.content;
    const share = (Math.min(Math.max(value, bottom), top) - bottom) / (top - bottom);
    return MARGIN.top + (1 - share) * this.height;
  }

  all() {
    for (const span of this.content.spans ?? []) this.span(span);
    if (!this.content.plain) this.valueTicks();
    else this.frame();
    this.timeTicks();
    this.context.save();
    this.context.beginPath();
    this.context.rect(MARGIN.left, 0, this.width, MARGIN.top + this.height);
    this.context.clip();
    for (const line of this.content.lines) this.line(line);
    this.context.restore();
    if (this.content.level) this.level(this.content.level);
  }

  span({ from, to, colour }) {
    const { context } = this;
    const left = Math.max(this.x(from), MARGIN.left);
    const right = Math.min(Math.max(this.x(to), left + 2), MARGIN.left + this.width);
    if (right <= MARGIN.left || left >= MARGIN.left + this.width) return;
    context.fillStyle = this.colour(colour);
    context.fillRect(left, MARGIN.top, right - left, this.height);
  }

  line({ times, values, colour, area, width = 1.75 }) {
    const { context } = this;
    for (const [first, last] of this.runs(times, values, area)) {
      context.beginPath();
      for (let i = first; i <= last; i++) context.lineTo(this.x(times[i]), this.y(values[i]));
      if (area) {
        for (let i = last; i >= first; i--) context.lineTo(this.x(times[i]), this.y(area[i]));
        context.fillStyle = this.colour(colour);
        context.fill();
      } else {
        context.strokeStyle = this.colour(colour);
        context.lineWidth = width;
        context.lineJoin = "round";
        context.stroke();
      }
    }
  }

  /** Yield the first and the last place of each stretch without a gap: nothing is drawn where nothing was heard. */
  *runs(times, values, area) {
    const usual = times.length > 2 ? median(times.slice(1, 400).map((time, i) => time - times[i])) : 1;
    let first = null;
    for (let i = 0; i < times.length; i++) {
      const there = values[i] !== null && (!area || area[i] !== null);
      const broken = i > 0 && times[i] - times[i - 1] > 3.5 * usual;
      if (first !== null && (!there || broken)) {
        yield [first, i - 1];
        first = null;
      }
      if (there && first === null) first = i;
    }
    if (first !== null) yield [first, times.length - 1];
  }

  level({ value, colour }) {
    const { context } = this;
    context.setLineDash([5, 4]);
    context.strokeStyle = this.colour(colour);
    context.lineWidth = 1.5;
    context.beginPath();
    context.moveTo(MARGIN.left, this.y(value));
    context.lineTo(MARGIN.left + this.width, this.y(value));
    context.stroke();
    context.setLineDash([]);
  }

  frame() {
    this.context.strokeStyle = this.colour("line");
    this.context.strokeRect(MARGIN.left, MARGIN.top, this.width, this.height);
  }

  valueTicks() {
    const { context } = this;
    const { top, bottom, valueText = (value) => value } = this.content;
    const step = niceStep((top - bottom) / 4);
    context.textAlign = "right";
    context.textBaseline = "middle";
    for (let value = Math.ceil(bottom / step) * step; value <= top + 1e-9; value += step) {
      context.strokeStyle = this.colour("line");
      context.lineWidth = 1;
      context.beginPath();
      context.moveTo(MARGIN.left, this.y(value));
      context.lineTo(MARGIN.left + this.width, this.y(value));
      context.stroke();
      context.fillStyle = this.colour("muted");
      context.fillText(valueText(Number(value.toPrecision(6))), MARGIN.left - 6, this.y(value));
    }
  }

  timeTicks() {
    const { context } = this;
    const { from, to, timeText } = this.content;
    const fits = Math.max(2, Math.floor(this.width / 90));
    const step = STEPS_SECONDS.find((each) => (to - from) / each <= fits) ?? 112 * DAY_SECONDS;
    const shift = new Date(from * 1000).getTimezoneOffset() * 60;
    context.textAlign = "center";
    context.textBaseline = "alphabetic";
    context.fillStyle = this.colour("muted");
    for (let time = Math.ceil((from - shift) / step) * step + shift; time <= to; time += step) {
      const x = this.x(time);
      const text = timeText(time, step);
      const half = context.measureText(text).width / 2;
      if (x - half < 0 || x + half > MARGIN.left + this.width + MARGIN.right) continue;
      context.fillText(text, x, MARGIN.top + this.height + 16);
    }
  }
}

function niceStep(rough) {
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].find((each) => each * power >= rough) * power;
}

function median(values) {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] || 1;
}
