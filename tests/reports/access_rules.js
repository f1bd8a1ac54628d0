// Serious rules of access, by hand: what a checker would call critical or serious, on the page as it is shown.
(() => {
  const found = [];
  const say = (rule, node) => found.push(rule + ": " + (node && node.outerHTML ? node.outerHTML.slice(0, 120) : node));
  const all = (selector, root) => Array.from((root || document).querySelectorAll(selector));
  const shown = (node) => node.getClientRects().length > 0 && getComputedStyle(node).visibility !== "hidden";
  const label = (node) => {
    const by = node.getAttribute("aria-labelledby");
    if (by) return by.split(/\s+/).map((id) => (document.getElementById(id) || {}).textContent || "").join(" ").trim();
    if (node.getAttribute("aria-label")) return node.getAttribute("aria-label").trim();
    if (node.labels && node.labels.length) return node.labels[0].textContent.trim();
    if (node.tagName === "IMG") return (node.getAttribute("alt") || "").trim();
    return node.textContent.trim();
  };
  // document
  if (!document.documentElement.lang) say("html-has-lang", document.documentElement);
  if (!document.title.trim()) say("document-title", "head");
  if (all("main").length !== 1) say("landmark-one-main", "body");
  if (all("h1").length !== 1) say("page-has-heading-one", "body");
  const viewport = document.querySelector("meta[name=viewport]");
  if (!viewport || /user-scalable\s*=\s*no|maximum-scale/.test(viewport.content)) say("meta-viewport", viewport);
  const ids = new Map();
  all("[id]").forEach((node) => { if (ids.has(node.id)) say("duplicate-id", node); ids.set(node.id, node); });
  // names
  all("button, a[href], select, input, summary, video, [role=region], [role=img]").forEach((node) => {
    if (!label(node)) say("name", node);
  });
  all("img").forEach((node) => { if (!node.hasAttribute("alt")) say("image-alt", node); });
  all("nav, section").forEach((node) => { if (!label(node)) say("region-name", node); });
  // references
  ["aria-labelledby", "aria-describedby", "aria-controls"].forEach((name) => all("[" + name + "]").forEach((node) => {
    node.getAttribute(name).split(/\s+/).forEach((id) => { if (!ids.has(id)) say("aria-valid-attr-value", node); });
  }));
  all("a[href^='#']").forEach((node) => {
    const id = node.getAttribute("href").slice(1);
    if (id && !ids.has(id)) say("skip-link", node);
  });
  // headings in order
  let level = 0;
  all("h1, h2, h3, h4, h5, h6").forEach((node) => {
    const now = Number(node.tagName[1]);
    if (now > level + 1) say("heading-order", node);
    level = now;
  });
  // tables
  all("table").forEach((table) => {
    if (!table.caption) say("table-caption", table);
    all("th", table).forEach((th) => { if (!th.scope) say("th-scope", th); });
    all("th[aria-sort]", table).forEach((th) => { if (!th.querySelector("button")) say("sort-button", th); });
  });
  // lists
  all("ul, ol").forEach((list) => Array.from(list.children).forEach((child) => {
    if (child.tagName !== "LI") say("list", child);
  }));
  // focus order and hidden focus
  all("[tabindex]").forEach((node) => { if (node.tabIndex > 0) say("tabindex", node); });
  all("[aria-hidden=true]").forEach((node) => {
    all("a[href], button, input, select, [tabindex='0']", node).forEach((inner) => say("aria-hidden-focus", inner));
  });
  // what scrolls can be reached by keyboard
  all(".scroll, pre").forEach((node) => {
    if (shown(node) && node.scrollWidth > node.clientWidth + 1 && node.tabIndex < 0) say("scrollable-region-focusable", node);
  });
  // media
  all("video").forEach((node) => {
    if (node.autoplay) say("no-autoplay-audio", node);
    if (!node.controls) say("video-controls", node);
  });
  // targets of at least 24 pixels, links in running text aside
  all("button, select, summary").forEach((node) => {
    if (!shown(node)) return;
    const box = node.getBoundingClientRect();
    if (box.height < 23.5 && !node.closest("th")) say("target-size", node);
  });
  // contrast: text against what lies behind it
  const parse = (text) => {
    const numbers = (text.match(/[\d.]+/g) || []).map(Number);
    if (text.startsWith("color(srgb")) return [255 * numbers[0], 255 * numbers[1], 255 * numbers[2], numbers.length > 3 ? numbers[3] : 1];
    return [numbers[0], numbers[1], numbers[2], numbers.length > 3 ? numbers[3] : 1];
  };
  const over = (top, under) => top.slice(0, 3).map((value, i) => value * top[3] + under[i] * (1 - top[3])).concat(1);
  const ground = (node) => {
    const layers = [];
    for (let at = node; at; at = at.parentElement) {
      const style = getComputedStyle(at);
      if (style.backgroundImage !== "none") return null;
      layers.push(parse(style.backgroundColor));
    }
    let colour = matchMedia("(prefers-color-scheme: dark)").matches ? [18, 18, 18, 1] : [255, 255, 255, 1];
    layers.reverse().forEach((layer) => { if (layer[3] > 0) colour = over(layer, colour); });
    return colour;
  };
  const light = (colour) => {
    const part = colour.slice(0, 3).map((value) => value / 255)
      .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
    return 0.2126 * part[0] + 0.7152 * part[1] + 0.0722 * part[2];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const seen = new Set();
  for (let text = walker.nextNode(); text; text = walker.nextNode()) {
    const node = text.parentElement;
    if (!text.data.trim() || seen.has(node) || !shown(node) || node.closest("svg, script, style, .sr, .skip, :disabled")) continue;
    seen.add(node);
    const style = getComputedStyle(node), back = ground(node);
    if (!back || Number(style.opacity) < 0.2) continue;
    const front = over(parse(style.color), back);
    const pair = [light(front), light(back)].sort((a, b) => b - a);
    const ratio = (pair[0] + 0.05) / (pair[1] + 0.05);
    const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio < (large ? 3 : 4.5)) say("color-contrast " + ratio.toFixed(2), node);
  }
  return found;
})()
