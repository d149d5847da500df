// The report's two moving parts: tabs over frames, and a point cloud drawn by the processor, so that
// it also turns where a browser has no graphics card.
"use strict";

// Tabs: without this script all frames are shown one below the other.
for (const bar of document.querySelectorAll(".tabs")) {
  const panels = [...bar.parentElement.querySelectorAll(".panel")];
  const show = (chosen) => panels.forEach((panel, i) => {
    panel.hidden = i !== chosen;
    bar.children[i].setAttribute("aria-pressed", String(i === chosen));
  });
  panels.forEach((panel, i) => {
    const button = document.createElement("button");
    button.textContent = panel.dataset.name;
    button.onclick = () => show(i);
    bar.append(button);
  });
  show(0);
}

// World: right-handed, +Z up. Azimuth 0 looks from -Y and grows counter-clockwise seen from above.
function startViewer(holder, meta) {
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const positions = new Int16Array(bytes(meta.positions).buffer);
  const pictureColours = meta.colours ? bytes(meta.colours) : null;
  const frames = meta.frames.length;
  const first = [0];
  for (const count of meta.counts) first.push(first.at(-1) + count);
  const tracked = meta.counts.every((count) => count === meta.counts[0]);
  const identity = identityColours();

  const canvas = holder.querySelector("canvas");
  const context = canvas.getContext("2d");
  const find = (name) => holder.parentElement.querySelector(`[data-part=${name}]`);
  const [play, time, label, size, colouring, paths] =
    ["play", "time", "label", "size", "colour", "paths"].map(find);
  const start = { azimuth: 0.6, elevation: 0.25, distance: startDistance() };
  const view = { ...start };
  let image, pixels, depth, moment = 0, playing = false, turning = false, dirty = true, before = 0;

  // Every point keeps the colour of its place in the first frame: what moves, moves with its colour.
  function identityColours() {
    const count = meta.counts[0], low = [1e9, 1e9, 1e9], high = [-1e9, -1e9, -1e9];
    for (let i = 0; i < 3 * count; i++) {
      low[i % 3] = Math.min(low[i % 3], positions[i]);
      high[i % 3] = Math.max(high[i % 3], positions[i]);
    }
    const colours = new Uint8Array(positions.length);
    for (let i = 0; i < positions.length; i++) {
      const k = i % 3, source = tracked ? positions[i % (3 * count)] : positions[i];
      colours[i] = 40 + 200 * Math.min(1, Math.max(0, (source - low[k]) / (high[k] - low[k] || 1)));
    }
    return colours;
  }

  // Near enough that the farthest point of all frames just stays in the picture.
  function startDistance() {
    let squared = 0;
    for (let i = 0; i < positions.length; i += 3) {
      squared = Math.max(squared, positions[i] ** 2 + positions[i + 1] ** 2 + positions[i + 2] ** 2);
    }
    return Math.max(0.5, 2.7 * meta.scale * Math.sqrt(squared));
  }

  function resize() {
    const dense = Math.min(window.devicePixelRatio || 1, 1.5);
    canvas.width = Math.max(2, Math.round(canvas.clientWidth * dense));
    canvas.height = Math.max(2, Math.round(canvas.clientHeight * dense));
    image = context.createImageData(canvas.width, canvas.height);
    pixels = new Uint32Array(image.data.buffer);
    depth = new Float32Array(pixels.length);
    dirty = true;
  }

  function axes() {
    const [ca, sa, ce, se] = [Math.cos(view.azimuth), Math.sin(view.azimuth),
      Math.cos(view.elevation), Math.sin(view.elevation)];
    return { right: [ca, sa, 0], up: [-se * sa, se * ca, ce], back: [ce * sa, -ce * ca, se] };
  }

  // Calls visit(point number, x, y, distance, focal length) for points of a moment between frames.
  function project(visit, stride = 1) {
    const { right, up, back } = axes(), s = meta.scale;
    const focal = 1.15 * Math.min(canvas.width, canvas.height * 1.1);
    const a = Math.floor(moment) % frames, share = tracked ? moment - Math.floor(moment) : 0;
    const b = share > 0 ? (a + 1) % frames : a;
    for (let i = 0; i < meta.counts[a]; i += stride) {
      const p = 3 * (first[a] + i), q = 3 * (first[b] + i);
      const x = s * (positions[p] + share * (positions[q] - positions[p]));
      const y = s * (positions[p + 1] + share * (positions[q + 1] - positions[p + 1]));
      const z = s * (positions[p + 2] + share * (positions[q + 2] - positions[p + 2]));
      const far = view.distance - x * back[0] - y * back[1] - z * back[2];
      if (far < 0.05) continue;
      const across = x * right[0] + y * right[1];
      const along = x * up[0] + y * up[1] + z * up[2];
      visit(i, canvas.width / 2 + focal * across / far, canvas.height / 2 - focal * along / far, far, focal);
    }
  }

  function drawPoints() {
    const { width, height } = canvas;
    const frame = Math.floor(moment) % frames;
    const byPicture = pictureColours && colouring.value === "picture";
    const colours = byPicture ? pictureColours : identity;
    const base = byPicture ? (meta.coloursPerFrame ? first[frame] : 0) : first[frame];
    pixels.fill(0);
    depth.fill(Infinity);
    const world = meta.size * size.value;
    project((i, x, y, far, focal) => {
      const radius = Math.max(0.6, world * focal / far), reach = radius * radius;
      const c = 3 * (base + i);
      const colour = 0xff000000 | (colours[c + 2] << 16) | (colours[c + 1] << 8) | colours[c];
      const top = Math.max(0, Math.ceil(y - radius)), bottom = Math.min(height - 1, Math.floor(y + radius));
      const left = Math.max(0, Math.ceil(x - radius)), last = Math.min(width - 1, Math.floor(x + radius));
      for (let row = top; row <= bottom; row++) {
        for (let column = left; column <= last; column++) {
          const at = row * width + column;
          const away = (row - y) * (row - y) + (column - x) * (column - x);
          if (away <= reach && far < depth[at]) { depth[at] = far; pixels[at] = colour; }
        }
      }
    });
    shade(width, height);
    context.putImageData(image, 0, 0);
  }

  // Eye-dome lighting: a pixel darkens where its neighbours are nearer, which shows the relief.
  function shade(width, height) {
    const data = image.data, offsets = [2, -2, 2 * width, -2 * width];
    for (let at = 2 * width; at < depth.length - 2 * width; at++) {
      const here = depth[at];
      if (here === Infinity) continue;
      let nearer = 0;
      for (const offset of offsets) {
        const there = depth[at + offset];
        if (there < here) nearer += Math.min(here - there, 0.12);
      }
      if (nearer > 0) {
        const light = Math.exp(-9 * nearer / view.distance);
        for (let k = 4 * at; k < 4 * at + 3; k++) data[k] *= light;
      }
    }
  }

  function drawPaths() {
    const now = moment, stride = Math.max(1, Math.floor(meta.counts[0] / 220)), lines = new Map();
    for (moment = 0; moment < frames; moment++) {
      project((i, x, y) => { (lines.get(i) || lines.set(i, []).get(i)).push([x, y]); }, stride);
    }
    moment = now;
    context.lineWidth = Math.max(1, canvas.width / 800);
    for (const [i, line] of lines) {
      context.strokeStyle = `rgb(${identity[3 * i]} ${identity[3 * i + 1]} ${identity[3 * i + 2]})`;
      context.beginPath();
      line.forEach(([x, y], k) => (k ? context.lineTo(x, y) : context.moveTo(x, y)));
      context.stroke();
    }
  }

  function setPlaying(on) {
    playing = on && frames > 1;
    play.textContent = playing ? "Pause" : "Play";
    play.setAttribute("aria-pressed", String(playing));
  }

  // Frames run in a circle where the animation does; else the last one stays a moment.
  function advance(seconds) {
    moment += seconds * meta.fps;
    const end = meta.loop ? frames : frames - 1;
    if (!meta.loop && moment > end + 0.6 * meta.fps) moment = 0;
    if (meta.loop) moment %= end;
  }

  function tick(now) {
    const seconds = Math.min(0.1, (now - before) / 1000);
    before = now;
    if (playing) advance(seconds);
    if (turning) view.azimuth += 0.25 * seconds;
    if (playing || turning) dirty = true;
    if (dirty && canvas.clientWidth) {
      dirty = false;
      const held = moment;
      if (!meta.loop) moment = Math.min(moment, frames - 1);
      if (playing) time.value = moment;
      label.textContent = meta.frames[Math.round(moment) % frames];
      drawPoints();
      if (paths.checked) drawPaths();
      moment = held;
    }
    requestAnimationFrame(tick);
  }

  const touched = () => { turning = false; dirty = true; };
  const pointers = new Map();
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, event);
    touched();
  });
  canvas.addEventListener("pointermove", (event) => {
    const old = pointers.get(event.pointerId);
    if (!old) return;
    if (pointers.size === 1) {
      view.azimuth -= (event.clientX - old.clientX) * 0.008;
      view.elevation += (event.clientY - old.clientY) * 0.008;
      view.elevation = Math.max(-1.55, Math.min(1.55, view.elevation));
    } else {
      const other = [...pointers.values()].find((p) => p.pointerId !== event.pointerId);
      const gap = (p) => Math.hypot(p.clientX - other.clientX, p.clientY - other.clientY) + 1;
      zoom(gap(old) / gap(event));
    }
    pointers.set(event.pointerId, event);
    touched();
  });
  for (const name of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(name, (event) => pointers.delete(event.pointerId));
  }
  const zoom = (factor) => { view.distance = Math.max(0.4, Math.min(12, view.distance * factor)); };
  canvas.addEventListener("wheel", (event) => {
    if (document.activeElement !== canvas) return; // the page must stay scrollable
    event.preventDefault();
    zoom(Math.exp(event.deltaY * 0.001));
    touched();
  }, { passive: false });
  canvas.addEventListener("dblclick", () => { Object.assign(view, start); touched(); });
  canvas.addEventListener("keydown", (event) => {
    const turns = { ArrowLeft: [0.1, 0], ArrowRight: [-0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1] };
    if (event.key === " ") setPlaying(!playing);
    else if (event.key in turns) {
      view.azimuth += turns[event.key][0];
      view.elevation = Math.max(-1.55, Math.min(1.55, view.elevation + turns[event.key][1]));
    } else return;
    event.preventDefault();
    touched();
  });
  play.onclick = () => setPlaying(!playing);
  time.oninput = () => { moment = Number(time.value); setPlaying(false); dirty = true; };
  for (const control of [size, colouring, paths]) control.oninput = () => { dirty = true; };

  time.max = meta.loop ? frames - 0.02 : frames - 1;
  if (!pictureColours) colouring.querySelector("[value=picture]").remove();
  if (frames < 2) for (const part of [play, time.parentElement, paths.parentElement]) part.hidden = true;
  if (!tracked) paths.parentElement.hidden = true;
  new ResizeObserver(resize).observe(canvas);
  resize();
  const calm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  turning = !calm;
  setPlaying(!calm);
  requestAnimationFrame((now) => { before = now; tick(now); });
}

const cloud = document.getElementById("cloud");
if (cloud) startViewer(cloud, JSON.parse(document.getElementById("cloud-data").textContent));
