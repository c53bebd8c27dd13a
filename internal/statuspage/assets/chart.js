// A sparkline: uPlot without axes. Its colours come from the style sheet: the
// line is the element's color, the area its fill.

import { span } from "./history.js";

const none = { show: false };

export class Sparkline {
  #element;
  #plot;
  #colours;

  // curves says for each column whether it is drawn as a "line", an "area" or
  // "both".
  constructor(element, curves) {
    this.#element = element;
    this.#readColours();
    const line = () => this.#colours.line;
    const area = () => this.#colours.area;
    this.#plot = new uPlot(
      {
        ...this.#size(),
        padding: [2, 0, 1, 0],
        legend: none,
        cursor: none,
        axes: [none, none],
        scales: { x: { time: true, auto: false }, y: { range: (u, low, high) => [0, Math.max(1, high ?? 0)] } },
        series: [
          {},
          ...curves.map((curve) => ({
            points: none,
            width: curve === "area" ? 0 : 1.5,
            stroke: line,
            fill: curve === "line" ? undefined : area,
          })),
        ],
      },
      [[], ...curves.map(() => [])],
      element,
    );
    new ResizeObserver(() => this.#plot.setSize(this.#size())).observe(element);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      this.#readColours();
      this.#plot.redraw();
    });
  }

  // show draws columns up to now, in seconds.
  show(now, times, ...columns) {
    this.#plot.batch(() => {
      this.#plot.setData([times, ...columns], false);
      this.#plot.setScale("x", { min: now - span, max: now });
    });
  }

  #readColours() {
    const style = getComputedStyle(this.#element);
    this.#colours = { line: style.color, area: style.fill };
  }

  #size() {
    return { width: this.#element.clientWidth || 100, height: this.#element.clientHeight || 20 };
  }
}
