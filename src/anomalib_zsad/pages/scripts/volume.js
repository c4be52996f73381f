// The page of a volume in three dimensions, drawn by NiiVue, which stands before this script.

import { byId } from "./dom.js";
import { page } from "./page_data.js";
import { formatScore } from "./pure/words.js";

const { Niivue, NVImage } = globalThis.niivue;
const MOST = 255; // what 1 is stored as
const CUT_FROM_THE_FRONT = [180, 0]; // azimuth and elevation, in degrees
const UNCUT = 2; // farther than any corner of the volume from its middle
const SIDES = ["RL", "AP", "SI"];

const viewer = new Niivue({
  isResizeCanvas: true,
  backColor: [0.04, 0.05, 0.06, 1],
  crosshairColor: [1, 0.88, 0.54, 0.8],
  crosshairWidth: 1,
  isRadiologicalConvention: true,
  isOrientationTextVisible: true,
  show3Dcrosshair: true,
  multiplanarLayout: 2,
  multiplanarShowRender: 1,
  logLevel: "silent",
});

function volumeIn(name, options) {
  const base64 = byId(name).textContent;
  return NVImage.loadFromBase64({ base64, name: `${name}.nii.gz`, ...options });
}

function applyThreshold() {
  const value = Number(byId("volume-threshold").value);
  byId("volume-threshold-value").textContent = formatScore(value);
  const map = viewer.volumes[1];
  map.cal_min = Math.max(1, value * MOST);
  map.cal_max = Math.max(map.cal_min + 1, map.global_max); // in full colour where this map is highest
  viewer.updateGLVolume();
}

function applyOpacity() {
  viewer.setOpacity(1, Number(byId("volume-opacity").value));
}

function applyCut() {
  const cut = Number(byId("volume-cut").value);
  viewer.setClipPlane([cut === 0 ? UNCUT : 0.5 - cut, ...CUT_FROM_THE_FRONT]);
}

function show(what) {
  const kinds = {
    all: viewer.sliceTypeMultiplanar,
    axial: viewer.sliceTypeAxial,
    coronal: viewer.sliceTypeCoronal,
    sagittal: viewer.sliceTypeSagittal,
    solid: viewer.sliceTypeRender,
  };
  viewer.setSliceType(kinds[what]);
}

function tellPlace(location) {
  const where = [...location.mm].slice(0, 3).map((value, axis) => {
    return `${SIDES[axis][value < 0 ? 1 : 0]} ${Math.abs(value).toFixed(1)}`;
  });
  const map = location.values[1] ? ` · map ${formatScore(location.values[1].value / MOST)}` : "";
  byId("volume-place").textContent = `${where.join("  ")} mm${map}`;
}

function begin() {
  const centre = page.start ? viewer.mm2frac(page.start) : [0.5, 0.5, 0.5];
  viewer.scene.crosshairPos = centre;
  viewer.createOnLocationChange();
  viewer.drawScene();
}

function fail(error) {
  byId("volume-failed").textContent =
    `This volume cannot be drawn here: ${error.message ?? error}. It takes a browser with WebGL 2; report.html needs none.`;
  byId("volume-failed").hidden = false;
}

async function start() {
  viewer.onLocationChange = tellPlace;
  await viewer.attachToCanvas(byId("volume"));
  const image = await volumeIn("volume-image", { colormap: "gray", cal_min: 0, cal_max: MOST });
  const map = await volumeIn("volume-map", { colormap: "warm", opacity: 0.5 });
  viewer.addVolume(image);
  viewer.addVolume(map);
  byId("volume-threshold").value = page.threshold;
  byId("volume-threshold").addEventListener("input", applyThreshold);
  byId("volume-opacity").addEventListener("input", applyOpacity);
  byId("volume-cut").addEventListener("input", applyCut);
  for (const choice of document.querySelectorAll("[name=shown]")) {
    choice.addEventListener("change", () => show(choice.value));
  }
  applyThreshold();
  applyCut();
  show("all");
  begin();
  document.body.dataset.ready = "yes";
}

start().catch(fail);
