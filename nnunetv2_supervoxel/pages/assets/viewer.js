"use strict";
// The viewer: NiiVue shows the image and one label volume, into which the supervoxels that are switched on are painted.
(() => {
  const byId = (id) => document.getElementById(id);
  const dataOf = (id) => JSON.parse(byId(id).textContent);
  const message = byId("viewer-message");
  const list = byId("viewer-list");
  const only = byId("viewer-only");
  const colours = dataOf("viewer-colours");
  const BACKGROUND = 0;

  let viewer; // NiiVue
  let overlay; // its label volume
  let supervoxels = []; // of the case that is shown; each with first and last voxels of its runs
  let on = []; // whether each is switched on

  if (!document.createElement("canvas").getContext("webgl2")) {
    message.textContent = "This browser has no WebGL 2, which the viewer needs. Everything else on this page works without it.";
    return;
  }

  async function unpacked(base64) {
    const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint32Array(await new Response(stream).arrayBuffer());
  }

  function labelColours() {
    const channel = (start) => [0, ...colours.map((colour) => parseInt(colour.slice(start, start + 2), 16))];
    const opaque = [0, ...colours.map(() => 255)];
    return { R: channel(1), G: channel(3), B: channel(5), A: opaque, I: opaque.map((_, value) => value), labels: opaque.map(() => "") };
  }

  // Large ones first, so that small ones lie on top.
  function paint() {
    overlay.img.fill(BACKGROUND);
    const order = supervoxels.map((_, number) => number).filter((number) => on[number]);
    order.sort((a, b) => supervoxels[b].voxels - supervoxels[a].voxels);
    for (const number of order) {
      const value = 1 + (number % colours.length);
      const { starts } = supervoxels[number];
      for (let i = 0; i < starts.length; i += 2) overlay.img.fill(value, starts[i], starts[i + 1]);
    }
    viewer.updateGLVolume();
    list.querySelectorAll("input").forEach((box, number) => (box.checked = on[number]));
  }

  function switchOn(isOn) {
    on = supervoxels.map((_, number) => isOn(number));
    paint();
  }

  function lookAt(number) {
    viewer.scene.crosshairPos = viewer.mm2frac(supervoxels[number].centre);
    viewer.drawScene();
  }

  function showOnly(number) {
    only.value = number + 1;
    byId("viewer-only-label").textContent = `supervoxel ${number + 1} of ${supervoxels.length} alone`;
    switchOn((other) => other === number);
    lookAt(number);
  }

  function described(one, number) {
    const scores = [["IoU", one.predicted_iou], ["consistency", one.consistency]];
    const known = scores.filter(([, score]) => score !== null).map(([name, score]) => `${name} ${score.toFixed(2)}`);
    const volume = `${Math.round(one.volume).toLocaleString("en")} mm³`;
    return [`${number + 1}: ${volume}`, `axis ${one.axis}, slice ${one.keyframe}`, ...known].join(", ");
  }

  function fillList() {
    list.replaceChildren(
      ...supervoxels.map((one, number) => {
        const label = document.createElement("label");
        const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: true });
        const swatch = Object.assign(document.createElement("span"), { className: "swatch" });
        swatch.style.background = colours[number % colours.length];
        box.addEventListener("change", () => {
          on[number] = box.checked;
          paint();
          if (box.checked) lookAt(number);
        });
        label.append(box, swatch, described(one, number));
        return label;
      }),
    );
  }

  async function show(index) {
    const data = dataOf(`viewer-data-${index}`);
    byId("viewer-about").textContent = data.error ?? about(data);
    byId("viewer-panel").dataset.shown = "";
    for (const volume of [...viewer.volumes]) viewer.removeVolume(volume);
    supervoxels = [];
    list.replaceChildren();
    if (data.error) return;
    const runs = await unpacked(data.runs);
    let passed = 0;
    supervoxels = data.supervoxels.map((one) => ({ ...one, starts: runs.subarray(passed, (passed += 2 * one.runs)) }));
    const image = await niivue.NVImage.loadFromBase64({ base64: data.image, name: "image.nii.gz", cal_min: 0, cal_max: 255 });
    overlay = image.clone();
    overlay.setColormapLabel(labelColours());
    overlay.opacity = Number(byId("viewer-opacity").value);
    overlay.img.fill(BACKGROUND);
    viewer.addVolume(image);
    viewer.addVolume(overlay);
    only.max = Math.max(1, supervoxels.length);
    byId("viewer-only-label").textContent = "one supervoxel alone";
    fillList();
    switchOn(() => true);
    if (supervoxels.length) lookAt(0);
    byId("viewer-panel").dataset.shown = data.case; // for tests
  }

  function about(data) {
    const every = data.step.some((step) => step > 1) ? [`shown at every ${data.step.join(", ")}th voxel (z, y, x)`] : [];
    return [`${data.supervoxels.length} supervoxels`, data.odd, ...every].filter(Boolean).join("; ");
  }

  const step = (by) => () => {
    if (supervoxels.length) showOnly((Number(only.value) - 1 + by + supervoxels.length) % supervoxels.length);
  };

  async function start() {
    byId("viewer-panel").hidden = false;
    viewer = new niivue.Niivue({
      backColor: [0, 0, 0, 1],
      crosshairColor: [1, 1, 0, 0.6],
      crosshairWidth: 0.4,
      isRadiologicalConvention: true,
      sagittalNoseLeft: true,
      multiplanarShowRender: niivue.SHOW_RENDER.NEVER,
      dragAndDropEnabled: false,
      scrollRequiresFocus: true,
      logLevel: "error",
    });
    await viewer.attachToCanvas(byId("viewer-canvas"));
    byId("viewer-case").addEventListener("change", (event) => show(event.target.value));
    byId("viewer-previous").addEventListener("click", step(-1));
    byId("viewer-next").addEventListener("click", step(1));
    byId("viewer-all").addEventListener("click", () => switchOn(() => true));
    byId("viewer-none").addEventListener("click", () => switchOn(() => false));
    only.addEventListener("input", step(0));
    byId("viewer-opacity").addEventListener("input", (event) => viewer.setOpacity(1, Number(event.target.value)));
    await show(0);
    message.hidden = true;
  }

  start().catch((error) => {
    message.textContent = `The viewer can't be shown here: ${error.message}`;
    message.hidden = false;
    byId("viewer-panel").hidden = true;
  });
})();
