"use strict";
(() => {
  const find = (id) => document.getElementById(id);
  const { rows, folders, threshold: modelThreshold } = JSON.parse(find("data").textContent);
  const KINDS = ["normal", "anomalous", "unknown"];
  const images = rows.map(([score, known, folder, number]) =>
    ({ score, kind: known === null ? "unknown" : known ? "anomalous" : "normal", folder, number }));
  const cards = [...document.querySelectorAll(".card")];
  const slider = find("threshold");

  const total = (some) => some.reduce((sum, image) => sum + image.number, 0);
  const ofKind = (kind, some = images) => some.filter((image) => image.kind === kind);
  const above = (some, threshold) => some.filter((image) => image.score > threshold);

  function wilson(hits, number) {
    const z = 1.959964, share = hits / number, scale = 1 + z * z / number;
    const centre = (share + z * z / (2 * number)) / scale;
    const reach = z * Math.sqrt(share * (1 - share) / number + z * z / (4 * number * number)) / scale;
    return [hits === 0 ? 0 : Math.max(0, centre - reach), hits === number ? 1 : Math.min(1, centre + reach)];
  }
  const percent = (share) => `${(100 * share).toFixed(1)}\u00a0%`;
  function rate(some, threshold, none) {
    const number = total(some), hits = total(above(some, threshold));
    if (number === 0) return none;
    const [low, high] = wilson(hits, number);
    return `${percent(hits / number)} (${percent(low)} to ${percent(high)}): ${hits} of ${number}`;
  }

  // from the highest score to the lowest, how many of both kinds are at or above it
  function steps(negative, positive) {
    const counts = new Map();
    for (const [some, place] of [[negative, 0], [positive, 1]])
      for (const { score, number } of some) {
        if (!counts.has(score)) counts.set(score, [0, 0]);
        counts.get(score)[place] += number;
      }
    let falseAlarms = 0, found = 0;
    return [...counts].sort((a, b) => b[0] - a[0]).map(([, [normal, anomalous]]) =>
      [falseAlarms += normal, found += anomalous]);
  }
  function areaUnderRoc(negative, positive) {
    let area = 0, before = [0, 0];
    for (const [x, y] of steps(negative, positive)) {
      area += (x - before[0]) * (y + before[1]) / 2;
      before = [x, y];
    }
    return area / (total(negative) * total(positive));
  }

  function draw(parent, name, attributes, text) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    parent.append(element);
    return element;
  }

  const histogram = find("histogram"), BINS = 20, LEFT = 40, RIGHT = 590, TOP = 15, BOTTOM = 205;
  const across = (score) => LEFT + (RIGHT - LEFT) * score;
  function drawHistogram() {
    const bins = Array.from({ length: BINS }, () => ({ normal: 0, anomalous: 0, unknown: 0 }));
    for (const { score, kind, number } of images) bins[Math.min(BINS - 1, Math.floor(score * BINS))][kind] += number;
    const highest = Math.max(1, ...bins.map((bin) => KINDS.reduce((sum, kind) => sum + bin[kind], 0)));
    bins.forEach((bin, index) => {
      let y = BOTTOM;
      for (const kind of KINDS) {
        const height = (BOTTOM - TOP) * bin[kind] / highest;
        if (height === 0) continue;
        y -= height;
        const bar = draw(histogram, "rect", { class: `bar-${kind}`, x: across(index / BINS) + 1, y, height,
          width: (RIGHT - LEFT) / BINS - 2 });
        draw(bar, "title", {}, `${bin[kind]} ${kind}`);
      }
    });
    draw(histogram, "path", { class: "axis", d: `M${LEFT} ${TOP}V${BOTTOM}H${RIGHT}` });
    for (const tick of [0, 0.25, 0.5, 0.75, 1])
      draw(histogram, "text", { x: across(tick), y: BOTTOM + 20, "text-anchor": "middle" }, tick);
    draw(histogram, "text", { x: across(0.5), y: BOTTOM + 40, "text-anchor": "middle" }, "score");
    draw(histogram, "text", { x: LEFT - 6, y: TOP + 8, "text-anchor": "end" }, highest);
    draw(histogram, "text", { x: LEFT - 6, y: BOTTOM, "text-anchor": "end" }, 0);
    return draw(histogram, "line", { class: "mark", y1: TOP - 10, y2: BOTTOM });
  }

  const place = (x, y) => [50 + 235 * x, 245 - 235 * y];
  function drawCurve(svg, points, labels) {
    draw(svg, "path", { class: "axis", d: "M50 10V245H285" });
    for (const tick of [0, 0.5, 1]) {
      draw(svg, "text", { x: place(tick, 0)[0], y: 262, "text-anchor": "middle" }, tick);
      draw(svg, "text", { x: 44, y: place(0, tick)[1] + 4, "text-anchor": "end" }, tick);
    }
    draw(svg, "text", { x: 167, y: 284, "text-anchor": "middle" }, labels[0]);
    draw(svg, "text", { x: -127, y: 14, "text-anchor": "middle", transform: "rotate(-90)" }, labels[1]);
    draw(svg, "polyline", { class: "curve", points: points.map(([x, y]) => place(x, y).join(",")).join(" ") });
    return draw(svg, "circle", { class: "point", r: 5 });
  }
  const negative = ofKind("normal"), positive = ofKind("anomalous");
  const normals = total(negative), anomalies = total(positive);
  const mark = drawHistogram();
  let rocPoint, precisionPoint;
  if (find("roc")) {
    const passed = steps(negative, positive);
    rocPoint = drawCurve(find("roc"), [[0, 0], ...passed.map(([x, y]) => [x / normals, y / anomalies])],
      ["false-alarm rate", "anomalies found"]);
    find("roc-area").textContent = `ROC curve: area ${areaUnderRoc(negative, positive).toFixed(4)}`;
    const points = passed.map(([x, y]) => [y / anomalies, y / (x + y)]);
    precisionPoint = drawCurve(find("precision"), [[0, points[0][1]], ...points],
      ["anomalies found (recall)", "alarms that are right (precision)"]);
    let average = 0, before = 0;
    for (const [recall, precision] of points) {
      average += (recall - before) * precision;
      before = recall;
    }
    find("precision-area").textContent = `Precision and recall: average precision ${average.toFixed(4)}`;
  }

  const lines = folders.map((name, index) => {
    const own = images.filter((image) => image.folder === index), bad = ofKind("anomalous", own);
    const kinds = KINDS.filter((kind) => ofKind(kind, own).length).join(", ");
    const area = bad.length && negative.length ? areaUnderRoc(negative, bad).toFixed(4) : "";
    const row = document.querySelector("#folders tbody").insertRow();
    for (const text of [name || "(images themselves)", kinds, total(own), "", area]) row.insertCell().textContent = text;
    return { own, cell: row.cells[3] };
  });

  function show() {
    const threshold = Number(slider.value), alarms = total(above(images, threshold));
    find("chosen").textContent = threshold.toFixed(3);
    mark.setAttribute("x1", across(threshold));
    mark.setAttribute("x2", across(threshold));
    find("count-anomalous").textContent = alarms;
    find("count-normal").textContent = total(images) - alarms;
    find("false-alarms").textContent = rate(negative, threshold, "not known: no image is known to be normal");
    find("found").textContent = rate(positive, threshold, "not known: no image is known to be anomalous");
    for (const { own, cell } of lines) cell.textContent = rate(own, threshold);
    for (const card of cards) {
      const alarm = Number(card.dataset.score) > threshold;
      card.classList.toggle("alarm", alarm);
      card.querySelector(".verdict").textContent = alarm ? "anomalous" : "normal";
    }
    if (!rocPoint) return;
    const falseAlarms = total(above(negative, threshold)), found = total(above(positive, threshold));
    const put = (point, [x, y]) => { point.setAttribute("cx", x); point.setAttribute("cy", y); };
    put(rocPoint, place(falseAlarms / normals, found / anomalies));
    put(precisionPoint, place(found / anomalies, falseAlarms + found ? found / (falseAlarms + found) : 1));
  }

  function logOdds(score) {
    const inside = Math.min(Math.max(score, 1e-9), 1 - 1e-9);
    return Math.log(inside / (1 - inside));
  }
  function sort() {
    const threshold = logOdds(Number(slider.value));
    const score = (card) => Number(card.dataset.score), doubt = (card) => Math.abs(logOdds(score(card)) - threshold);
    const orders = {
      borderline: (a, b) => doubt(a) - doubt(b),
      down: (a, b) => score(b) - score(a),
      up: (a, b) => score(a) - score(b),
      name: (a, b) => a.dataset.name.localeCompare(b.dataset.name, undefined, { numeric: true }),
    };
    find("cards").append(...cards.sort(orders[find("order").value]));
  }

  slider.addEventListener("input", show);
  slider.addEventListener("change", sort);  // only when it is let go, so that cards do not jump meanwhile
  find("order").addEventListener("change", sort);
  find("outlines").addEventListener("change", (event) =>
    find("cards").classList.toggle("no-outlines", !event.target.checked));
  for (const card of cards)
    card.querySelector(".pictures").addEventListener("click", () => card.classList.toggle("large"));
  find("back").addEventListener("click", () => {
    slider.value = modelThreshold;
    show();
    sort();
  });
  show();
  sort();
})();
