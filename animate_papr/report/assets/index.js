// The index's two moving parts: a table that sorts, and videos that play together.
"use strict";

// Numbers by size and words by alphabet; what was not measured stays at the end either way.
for (const table of document.querySelectorAll("table.runs")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = head.querySelector("button");
    if (!button) return;
    button.onclick = () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const value = (row) => row.cells[column].dataset.value;
      const compare = (a, b) => {
        if (value(a) === "" || value(b) === "") return (value(a) === "") - (value(b) === "");
        const [x, y] = [Number(value(a)), Number(value(b))];
        const order = Number.isNaN(x) || Number.isNaN(y) ? value(a).localeCompare(value(b)) : x - y;
        return down ? -order : order;
      };
      body.append(...[...body.rows].sort(compare));
    };
  });
}

const players = document.getElementById("players");
if (players) {
  const kind = document.getElementById("kind");
  const boxes = [...document.querySelectorAll("[data-videos]")];
  const restart = () => players.querySelectorAll("video").forEach((video) => {
    video.currentTime = 0;
    video.play().catch(() => {});
  });
  const show = () => {
    players.replaceChildren(...boxes.filter((box) => box.checked).map((box) => {
      const videos = Object.fromEntries(box.dataset.videos.split(" ").map((pair) => pair.split("=")));
      const figure = document.createElement("figure"), caption = document.createElement("figcaption");
      caption.textContent = box.dataset.name;
      if (videos[kind.value]) {
        const video = document.createElement("video");
        Object.assign(video, { src: videos[kind.value], loop: true, muted: true, controls: true });
        figure.append(video);
      } else caption.textContent += ": has no such video";
      figure.append(caption);
      return figure;
    }));
    restart();
  };
  boxes.forEach((box) => { box.onchange = show; });
  kind.onchange = show;
  document.getElementById("restart").onclick = restart;
  show();
}
