// The page's behaviour: a row shows its lesion, and NiiVue shows both scans. Everything it needs is in this file.
"use strict";

const FLICKER_MS = 600;
const MARKED = 0.4; // opacity of the lesions over the scans
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
  viewers.forEach((viewer) => viewer.setOpacity(1, wanted ? MARKED : 0));
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
    show3Dcrosshair: false,
    crosshairWidth: 0.5,
    crosshairColor: [0.3, 0.7, 1, 0.8],
    backColor: [0, 0, 0, 1],
    isColorbar: false,
    fontColor: [1, 1, 1, 1],
    showAllOrientationMarkers: true,
    dragAndDropEnabled: false,
    logLevel: "error",
  });
  await viewer.attachToCanvas(document.getElementById(`${time}-canvas`));
  const scan = await niivue.NVImage.new(bytesOf(`${time}-volume`).buffer, `${time}.nii.gz`, "gray", 1);
  const lesions = await niivue.NVImage.new(bytesOf("lesions-volume").buffer, "lesions.nii.gz", "red", MARKED);
  scan.cal_min = 0;
  scan.cal_max = 255;
  lesions.cal_min = 0.5;
  lesions.cal_max = 1;
  viewer.addVolume(scan);
  viewer.addVolume(lesions);
  viewer.setInterpolation(false);
  viewer.setSliceType(3); // all planes
  viewer.onLocationChange = (location) => {
    const places = Array.from(location.mm).slice(0, 3).map((side) => String(Math.round(side) || 0).replace("-", "−"));
    document.getElementById("position").textContent = `crosshair at ${places.join(", ")} mm`;
  };
  return viewer;
}

/** The bytes that a script element holds in base64. */
function bytesOf(id) {
  return Uint8Array.from(atob(document.getElementById(id).textContent.trim()), (letter) => letter.charCodeAt(0));
}
