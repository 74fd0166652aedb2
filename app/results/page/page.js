// The page's behaviour: a row shows its lesion, and NiiVue shows both scans. Everything it needs is in this file.
"use strict";

const FLICKER_MS = 600;
// Colours of the outlines, in the order of facts.classes; page.css has the same.
const COLOURS = { new: "ff3b30", enlarged: "ff9500", unchanged: "8e9aa6", shrunken: "34c7a5", vanished: "4da3ff", possible: "ffd60a" };
const CROSSHAIR = 0.5; // width, voxels
const facts = JSON.parse(document.getElementById("facts").textContent);
const panes = document.getElementById("panes");
let viewers = []; // of the baseline and of the follow-up, once they are there

for (const row of document.querySelectorAll("tr[data-lesion]")) {
  row.addEventListener("click", () => choose(Number(row.dataset.lesion)));
  row.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    choose(Number(row.dataset.lesion));
  });
}
document.getElementById("overlay").addEventListener("change", (event) => markLesions(event.target.checked));
document.getElementById("crosshair").addEventListener("change", (event) => viewers.forEach((viewer) => viewer.setCrosshairWidth(event.target.checked ? CROSSHAIR : 0)));
document.getElementById("white").addEventListener("input", (event) => setWhite(Number(event.target.value)));
for (const radio of document.querySelectorAll("input[name=window]")) radio.addEventListener("change", () => setWhite(Number(radio.value)));
document.getElementById("copy").addEventListener("click", copyText);
for (const radio of document.querySelectorAll("input[name=show]")) radio.addEventListener("change", () => show(radio.value));
for (const radio of document.querySelectorAll("input[name=planes]")) {
  radio.addEventListener("change", () => viewers.forEach((viewer) => viewer.setSliceType(Number(radio.value))));
}
startViewer();

/** A reader chose a lesion: mark it, and bring the place that shows it into view. */
function choose(number) {
  mark(number);
  const shows = viewers.length ? document.getElementById("viewer") : document.querySelector(`.lesion[data-lesion="${number}"]`);
  shows?.scrollIntoView({ block: "nearest" });
}

/** Mark a lesion's row and pictures, and move the crosshair to it. */
function mark(number) {
  for (const element of document.querySelectorAll("[data-lesion]")) element.classList.toggle("chosen", Number(element.dataset.lesion) === number);
  const lesion = facts.lesions.find((candidate) => candidate.number === number);
  viewers.forEach((viewer) => moveCrosshair(viewer, lesion.shown_at_ras_mm));
}

function moveCrosshair(viewer, rasMm) {
  viewer.scene.crosshairPos = viewer.mm2frac(rasMm, 0, true); // true: by the volume's own axes, turned as they may be
  viewer.createOnLocationChange();
  viewer.drawScene();
}

function markLesions(wanted) {
  document.body.classList.toggle("no-outlines", !wanted);
  viewers.forEach((viewer) => viewer.setOpacity(1, wanted ? 1 : 0));
}

/** Set the scaled intensity that is shown white, in the pictures and in the viewer; the volumes' 255 is facts.brightest. */
function setWhite(white) {
  document.documentElement.style.setProperty("--gain", String(facts.brightest / white));
  document.getElementById("white").value = white;
  document.getElementById("white-at").textContent = white.toFixed(2);
  for (const radio of document.querySelectorAll("input[name=window]")) radio.checked = Number(radio.value) === white;
  viewers.forEach((viewer) => {
    viewer.volumes[0].cal_max = 255 * white / facts.brightest;
    viewer.updateGLVolume();
  });
}

/** Put the text on the clipboard; where the browser forbids it to a file, select it, so that Ctrl-C does. */
async function copyText() {
  const text = document.getElementById("text-to-copy");
  try {
    await navigator.clipboard.writeText(text.textContent);
    document.getElementById("copy").textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(text);
    document.getElementById("copy").textContent = "Selected: press Ctrl-C";
  }
}

/** Both scans side by side, one, or one after the other in the same place. */
function show(which) {
  clearInterval(show.timer);
  panes.dataset.show = which === "flicker" ? "followup" : which;
  if (which === "flicker") {
    show.timer = setInterval(() => {
      panes.dataset.show = panes.dataset.show === "followup" ? "baseline" : "followup";
    }, FLICKER_MS);
  }
}

async function startViewer() {
  if (!document.createElement("canvas").getContext("webgl2")) {
    return withoutViewer("This browser has no WebGL 2, so the interactive viewer is off. The slices below show every listed lesion at both times.");
  }
  try {
    await loadNiivue();
    viewers = await Promise.all(["baseline", "followup"].map(openViewer));
  } catch (error) {
    console.error(error);
    return withoutViewer(`The interactive viewer could not start (${error.message}). The slices below show every listed lesion at both times.`);
  }
  const [baseline, followup] = viewers;
  baseline.broadcastTo([followup], { "2d": true, "3d": true });
  followup.broadcastTo([baseline], { "2d": true, "3d": true });
  if (facts.lesions.length) mark(facts.lesions[0].number);
  document.body.dataset.viewer = "ready";
}

function withoutViewer(why) {
  const message = document.getElementById("no-viewer");
  message.textContent = why;
  message.hidden = false;
  for (const id of ["controls", "panes", "viewer-help"]) document.getElementById(id).hidden = true;
  document.body.dataset.viewer = "none";
}

/** NiiVue travels packed; a script of its text runs because the page's policy knows its hash. */
async function loadNiivue() {
  const unpacked = new Blob([bytesOf("niivue")]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(unpacked).text();
  document.head.append(script);
  if (!window.niivue) throw new Error("NiiVue did not load");
}

async function openViewer(time) {
  const viewer = new niivue.Niivue({
    isRadiologicalConvention: true,
    sagittalNoseLeft: true,
    multiplanarLayout: 2, // axial, coronal, sagittal as tiles
    multiplanarShowRender: 0, // never
    tileMargin: 14, // pixels about each plane, so that the letters of two do not meet
    show3Dcrosshair: false,
    crosshairWidth: CROSSHAIR,
    crosshairColor: [0.3, 0.7, 1, 0.8],
    backColor: [0, 0, 0, 1],
    isColorbar: false,
    fontColor: [1, 1, 1, 1],
    showAllOrientationMarkers: true,
    dragAndDropEnabled: false,
    logLevel: "error",
  });
  const canvas = document.getElementById(`${time}-canvas`);
  const draw = viewer.drawScene.bind(viewer);
  // in print the viewer has no size, and planes less their margins would have less than none
  viewer.drawScene = () => (canvas.clientWidth > 0 ? draw() : undefined);
  await viewer.attachToCanvas(canvas);
  const scan = await niivue.NVImage.new(bytesOf(`${time}-volume`).buffer, `${time}.nii.gz`, "gray", 1);
  viewer.addColormap("kinds", kindsColormap());
  const outlines = await niivue.NVImage.new(bytesOf("outlines-volume").buffer, "outlines.nii.gz", "kinds", 1);
  scan.cal_min = 0;
  scan.cal_max = 255 * Number(document.getElementById("white").value) / facts.brightest;
  outlines.cal_min = 0;
  outlines.cal_max = facts.classes.length;
  viewer.addVolume(scan);
  viewer.addVolume(outlines);
  viewer.setInterpolation(false);
  viewer.setSliceType(3); // all planes
  viewer.onLocationChange = (location) => {
    const places = Array.from(location.mm).slice(0, 3).map((side) => String(Math.round(side) || 0).replace("-", "−"));
    document.getElementById("position").textContent = `crosshair at ${places.join(", ")} mm`;
  };
  return viewer;
}

/** A colour for each class, nothing for 0; the volume holds whole classes, so that what lies between is never shown. */
function kindsColormap() {
  const colours = facts.classes.map((kind) => [0, 2, 4].map((at) => parseInt(COLOURS[kind].slice(at, at + 2), 16)));
  const channel = (index) => [0, ...colours.map((colour) => colour[index])];
  return {
    R: channel(0),
    G: channel(1),
    B: channel(2),
    A: [0, ...colours.map(() => 255)],
    I: [0, ...colours.map((_, index) => Math.round((255 * (index + 1)) / colours.length))],
  };
}

/** The bytes that a script element holds in base64. */
function bytesOf(id) {
  return Uint8Array.from(atob(document.getElementById(id).textContent.trim()), (letter) => letter.charCodeAt(0));
}
