"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const PAPER = 680; // pixels between the margins of A4 and of Letter, upright
  const narrow = () => innerWidth < 600;

  function colours(print) {
    const style = getComputedStyle(document.documentElement);
    const of = (name) => style.getPropertyValue(name).trim();
    return print ? { text: "#000", line: "#ccc", card: "#fff" } : { text: of("--text"), line: of("--line"), card: of("--card") };
  }

  function themed(layout, print, small) {
    const { text, line, card } = colours(print);
    const all = {
      ...layout, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", template: {}, autosize: !print, width: print ? (small ? PAPER / 3 : PAPER) : undefined,
      font: { color: text, size: narrow() ? 10 : 12 }, margin: narrow() ? { l: 46, r: 12, t: 16, b: 48 } : { l: 64, r: 24, t: 20, b: 52 },
      hoverlabel: { bgcolor: card, font: { color: text }, align: "left" }, hovermode: "closest", dragmode: false,
      legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
    };
    for (const key of Object.keys(layout).concat("xaxis", "yaxis")) {
      if (/^[xy]axis\d*$/.test(key)) all[key] = { gridcolor: line, zerolinecolor: line, linecolor: line, automargin: true, exponentformat: "e", ...(narrow() && small ? { nticks: 4 } : {}), ...layout[key] };
    }
    all.annotations = (layout.annotations || []).map((one) => ({ ...one, bgcolor: card, borderpad: 1 }));
    return all;
  }

  // Over each figure a button saves it as SVG.
  const config = (name) => ({ displaylogo: false, responsive: true, modeBarButtons: [["toImage"]], toImageButtonOptions: { format: "svg", filename: name } });
  const drawn = Object.entries(figures).map(([id, figure]) => [document.getElementById(id), figure]);
  const draw = (print) => Promise.all(drawn.map(([place, figure]) => Plotly.react(place, figure.data, themed(figure.layout, print, place.closest(".small")), config(place.id))));
  draw(false).then(() => { document.documentElement.dataset.drawn = Math.round(performance.now()); });
  dark.addEventListener("change", () => draw(false));
  addEventListener("beforeprint", () => draw(true));
  addEventListener("afterprint", () => draw(false));

  const number = (text) => (/^[-+]?[\d,]*\.?\d+(e[-+]?\d+)?$/i.test(text) ? Number(text.replaceAll(",", "")) : NaN);
  function compare(a, b) {
    const [x, y] = [number(a), number(b)];
    if (!isNaN(x) && !isNaN(y)) return x - y;
    return isNaN(x) - isNaN(y) || a.localeCompare(b);
  }
  for (const table of document.querySelectorAll("table.sortable")) {
    const headings = [...table.tHead.rows[0].cells], body = table.tBodies[0];
    headings.forEach((heading, column) => heading.firstElementChild.addEventListener("click", () => {
      const down = heading.getAttribute("aria-sort") === "ascending";
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", down ? "descending" : "ascending");
      const text = (row) => row.cells[column].textContent;
      const empty = (row) => text(row) === "";
      const rows = [...body.rows].sort((a, b) => empty(a) - empty(b) || (down ? -1 : 1) * compare(text(a), text(b)));
      body.append(...rows);
    }));
  }
})();
