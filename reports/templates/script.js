"use strict";
(function () {
  const all = (selector, root) => Array.from((root || document).querySelectorAll(selector));
  const say = (text) => { document.getElementById("live").textContent = text; };
  document.documentElement.classList.add("js");

  // Sorting: a button in each header; groups of rows keep their place and their heading.
  const keyOf = (row, column) => {
    const cell = row.cells[column];
    return cell.hasAttribute("data-sort") ? cell.getAttribute("data-sort") : cell.textContent.trim();
  };
  const compare = (a, b) => {
    if (a === "" || b === "") return a === b ? 0 : a === "" ? Infinity : -Infinity;
    const x = Number(a.replace("\u2212", "-")), y = Number(b.replace("\u2212", "-"));
    return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b, "en", { numeric: true }) : x - y;
  };
  const sortBy = (table, header, column, descending) => {
    for (const body of table.tBodies) {
      const rows = Array.from(body.rows).filter((row) => !row.classList.contains("group"));
      const keyed = rows.map((row) => [keyOf(row, column), row]);
      keyed.sort(([a], [b]) => {
        const order = compare(a, b);
        return Number.isFinite(order) && descending ? -order : order;
      });
      keyed.forEach(([, row]) => body.appendChild(row));
    }
    all("th[aria-sort]", table).forEach((th) => th.setAttribute("aria-sort", "none"));
    header.setAttribute("aria-sort", descending ? "descending" : "ascending");
    say("Sorted by " + header.innerText.trim() + (descending ? ", descending" : ", ascending"));
  };
  all("table[data-sortable]").forEach((table) => {
    all("th[aria-sort]", table).forEach((header) => {
      all("button.sort", header).forEach((button) => button.addEventListener("click", () => {
        const numeric = header.classList.contains("num");
        const state = header.getAttribute("aria-sort");
        sortBy(table, header, header.cellIndex, state === "none" ? numeric : state === "ascending");
      }));
    });
  });

  // Filters of the sample table.
  all(".filters").forEach((box) => {
    const selects = all("select", box);
    const rows = all("#sample-table tbody tr");
    box.hidden = false;
    const apply = () => {
      let shown = 0;
      rows.forEach((row) => {
        row.hidden = !selects.every((s) => !s.value || row.getAttribute("data-" + s.dataset.filter) === s.value);
        shown += row.hidden ? 0 : 1;
      });
      say(shown + " of " + rows.length + " rows shown");
    };
    selects.forEach((select) => select.addEventListener("change", apply));
  });

  // Side by side: one button starts every video of a sample; the curves show where they are.
  all(".case").forEach((card) => {
    const videos = all("video", card);
    const controls = card.querySelector(".controls");
    if (!videos.length || !controls) return;
    controls.hidden = false;
    const button = controls.querySelector(".play");
    const playing = () => videos.some((video) => !video.paused && !video.ended);
    const label = () => { button.textContent = playing() ? "Pause all" : "Play all together"; };
    const ready = (video) => new Promise((done) => {
      if (video.readyState >= 3) { done(); return; }
      ["canplay", "error"].forEach((name) => video.addEventListener(name, done, { once: true }));
      video.preload = "auto";
      video.load();
    });
    const seek = (time) => videos.forEach((video) => { video.currentTime = time; });
    const start = async (time) => {
      button.disabled = true;
      await Promise.all(videos.map(ready));
      seek(time);
      await Promise.allSettled(videos.map((video) => video.play()));
      button.disabled = false;
      label();
    };
    button.addEventListener("click", () => {
      if (playing()) videos.forEach((video) => video.pause());
      else start(videos[0].ended ? 0 : videos[0].currentTime);
    });
    controls.querySelector(".restart").addEventListener("click", () => start(0));
    videos.forEach((video) => {
      ["play", "pause", "ended"].forEach((name) => video.addEventListener(name, label));
      video.addEventListener("volumechange", () => {
        if (!video.muted) videos.forEach((other) => { if (other !== video) other.muted = true; });
      });
    });
    playhead(card, videos, seek);
    card.addEventListener("toggle", () => { if (!card.open) videos.forEach((video) => video.pause()); });
  });

  function playhead(card, videos, seek) {
    const sheet = card.querySelector(".sheet");
    if (!sheet) return;
    const line = sheet.querySelector(".playhead"), drawing = sheet.querySelector(".drawing");
    const left = Number(sheet.dataset.left), right = Number(sheet.dataset.right);
    const duration = Number(sheet.dataset.duration);
    const place = (time) => {
      line.hidden = false;
      line.style.left = 100 * (left + (right - left) * Math.min(1, time / duration)) + "%";
    };
    const follow = () => {
      const active = videos.find((video) => !video.paused && !video.ended);
      if (!active) return;
      place(active.currentTime);
      window.requestAnimationFrame(follow);
    };
    videos.forEach((video) => {
      video.addEventListener("play", follow);
      video.addEventListener("seeked", () => place(video.currentTime));
    });
    drawing.addEventListener("click", (event) => {
      const box = drawing.getBoundingClientRect();
      const share = ((event.clientX - box.left) / box.width - left) / (right - left);
      const time = Math.max(0, Math.min(1, share)) * duration;
      place(time);
      seek(time);
    });
  }

  // A link to a folded sample unfolds it; printing unfolds everything.
  const unfold = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target && target.tagName === "DETAILS") { target.open = true; target.scrollIntoView(); }
  };
  window.addEventListener("hashchange", unfold);
  unfold();
  let folded = [];
  window.addEventListener("beforeprint", () => {
    folded = all("details:not([open])");
    folded.forEach((one) => { one.open = true; });
  });
  window.addEventListener("afterprint", () => folded.forEach((one) => { one.open = false; }));
})();
