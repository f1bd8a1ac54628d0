"use strict";
(function () {
  const data = JSON.parse(document.getElementById("data").textContent);
  const get = (id) => document.getElementById(id);
  const SIDES = ["left", "right"], LOWEST = 1, HIGHEST = 5;
  const LINES = SIDES.flatMap((side) => data.criteria.map((name) => side + "-" + name));
  const PLACE = "study-" + data.study;

  // ---- what is remembered between visits ------------------------------------------------------------------------
  const random = () => crypto.getRandomValues(new Uint32Array(1))[0];
  const fresh = () => {
    // Every rater has an order of their own, and sides of their own.
    const order = data.trials.map((_, index) => index);
    for (let i = order.length - 1; i > 0; i--) {
      const j = random() % (i + 1);
      [order[i], order[j]] = [order[j], order[i]];
    }
    return {
      rater: "r" + random().toString(16).padStart(8, "0") + random().toString(16).padStart(8, "0"),
      order: order,
      swapped: data.trials.map(() => random() % 2 === 1),
      answers: {},
      at: 0,
      started: false,
    };
  };
  const load = () => {
    try {
      const held = JSON.parse(localStorage.getItem(PLACE));
      return held && held.order.length === data.trials.length ? held : null;
    } catch (error) { return null; }
  };
  let canRemember = true;
  const save = () => {
    try { localStorage.setItem(PLACE, JSON.stringify(state)); }
    catch (error) {
      if (canRemember) say("This browser does not let the page remember: please finish before you close it.");
      canRemember = false;
    }
  };
  const held = load();
  const state = held || fresh();

  const say = (text) => { get("said").textContent = text; };
  const show = (id) => { ["intro", "trial", "end"].forEach((name) => { get(name).hidden = name !== id; }); };

  // ---- one pair ---------------------------------------------------------------------------------------------------
  let line = 0, shownAt = 0, plays = {};
  const trialAt = (at) => data.trials[state.order[at]];
  const clipsOf = (at) => {
    const clips = trialAt(at).clips;
    return state.swapped[state.order[at]] ? [clips[1], clips[0]] : clips;
  };
  const checked = (name) => document.querySelector('input[name="' + name + '"]:checked');
  const isComplete = () => LINES.every((name) => checked(name));

  const mark = (index) => {
    line = Math.max(0, Math.min(LINES.length - 1, index));
    LINES.forEach((name, i) => get(name).classList.toggle("current", i === line));
    get(LINES[line]).scrollIntoView({ block: "nearest" });
  };
  const open = (at) => {
    state.at = at;
    save();
    if (at >= state.order.length) { finish(); return; }
    const trial = trialAt(at), before = state.answers[trial.id];
    show("trial");
    get("progress").textContent = "Pair " + (at + 1) + " of " + state.order.length;
    get("instruction").hidden = !trial.instructed;
    get("instruction").textContent = trial.instructed
      ? "A check of attention: give the left video " + HIGHEST + " and the right video " + LOWEST + " on all three scales."
      : "";
    clipsOf(at).forEach((id, index) => {
      const side = SIDES[index], clip = data.clips[id];
      get(side + "-video").src = clip.video;
      get(side + "-picture").src = data.pictures[clip.picture];
    });
    LINES.forEach((name) => {
      const [side, criterion] = name.split("-");
      document.querySelectorAll('input[name="' + name + '"]').forEach((input) => {
        input.checked = !!before && Number(input.value) === before.ratings[side][criterion];
      });
    });
    plays = before ? before.plays : { left: 0, right: 0 };
    shownAt = performance.now();
    get("back").disabled = at === 0;
    get("next").disabled = !isComplete();
    mark(0);
    say("Pair " + (at + 1) + " of " + state.order.length);
  };
  const answer = () => {
    const trial = trialAt(state.at), clips = clipsOf(state.at), before = state.answers[trial.id];
    const ratings = { left: {}, right: {} };
    LINES.forEach((name) => {
      const [side, criterion] = name.split("-");
      ratings[side][criterion] = Number(checked(name).value);
    });
    const seconds = (performance.now() - shownAt) / 1000 + (before ? before.seconds : 0);
    state.answers[trial.id] = {
      trial: trial.id, left: clips[0], right: clips[1], ratings: ratings,
      seconds: Math.round(seconds * 10) / 10, plays: plays, position: state.at,
    };
  };
  const next = () => {
    if (!isComplete()) {
      const missing = LINES.findIndex((name) => !checked(name));
      mark(missing);
      say("Please rate every line first.");
      return;
    }
    answer();
    open(state.at + 1);
  };
  const back = () => { if (state.at > 0) open(state.at - 1); };
  const rate = (value) => {
    const input = document.querySelector('input[name="' + LINES[line] + '"][value="' + value + '"]');
    input.checked = true;
    get("next").disabled = !isComplete();
    mark(line + 1);
  };
  const play = (side) => {
    const other = get((side === "left" ? "right" : "left") + "-video"), video = get(side + "-video");
    other.pause();
    if (!video.paused) { video.pause(); return; }
    if (video.ended) video.currentTime = 0;
    const started = video.play();
    if (started) started.catch(() => say("The " + side + " video cannot be played by this browser."));
  };

  // ---- the end ----------------------------------------------------------------------------------------------------
  const exported = () => JSON.stringify({
    schema_version: 1, study: data.study, rater: state.rater,
    answers: state.order.map((index) => state.answers[data.trials[index].id]).filter(Boolean),
  }, null, 1);
  const finish = () => {
    show("end");
    const text = exported(), link = get("save");
    link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    link.download = "answers-" + data.study + "-" + state.rater + ".json";
    get("answers").value = text;
    link.focus();
    say("All pairs are rated.");
  };

  // ---- keys and buttons -------------------------------------------------------------------------------------------
  const start = () => { state.started = true; open(state.at); };
  get("count").textContent = String(data.trials.length);
  get("start").addEventListener("click", start);
  get("next").addEventListener("click", next);
  get("back").addEventListener("click", back);
  SIDES.forEach((side) => {
    get(side + "-play").addEventListener("click", () => play(side));
    get(side + "-video").addEventListener("play", () => { plays[side] += 1; });
  });
  LINES.forEach((name, index) => {
    get(name).addEventListener("change", () => { get("next").disabled = !isComplete(); });
    get(name).addEventListener("focusin", () => mark(index));
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const key = event.key, onButton = event.target.closest && event.target.closest("button, a, video, textarea");
    if (!get("intro").hidden) {
      if (key === "Enter" && !onButton) { event.preventDefault(); start(); }
      return;
    }
    if (get("trial").hidden) return;
    const digit = Number(key);
    if (key.length === 1 && digit >= LOWEST && digit <= HIGHEST) { event.preventDefault(); rate(digit); }
    else if (key === "l" || key === "L") play("left");
    else if (key === "r" || key === "R") play("right");
    else if (key === "ArrowDown" && event.target.type !== "radio") { event.preventDefault(); mark(line + 1); }
    else if (key === "ArrowUp" && event.target.type !== "radio") { event.preventDefault(); mark(line - 1); }
    else if (key === "Enter" && !onButton) { event.preventDefault(); next(); }
    else if (key === "Backspace") { event.preventDefault(); back(); }
  });

  if (state.started) { say("Welcome back."); open(state.at); }
  else get("start").focus();
})();
