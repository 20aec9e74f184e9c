// A camera of the computer that shows this page: stills of it are scored.
const STILLS = 50;  // unmarked ones that the page keeps
let stream = null, opening = 0, timer = null;

const REASONS = {
  NotAllowedError: "The browser may not use the camera; allow it for this page and start it again.",
  NotFoundError: "The browser finds no camera; connect one and start it again.",
  NotReadableError: "The camera gives no image; close other programs that use it and start it again.",
  OverconstrainedError: "This camera is gone; choose another one.",
};

function cameraReady() {
  const ready = window.isSecureContext && Boolean(navigator.mediaDevices);
  $("camera-start").disabled = !ready;
  $("camera-says").textContent = ready ? "Score stills of a camera of this computer. They are sent to this service only." :
    "Browsers give cameras only to pages on localhost or over https, and this one came over http from " + location.host + ".";
}

async function startCamera() {
  stopCamera();
  const turn = opening += 1, id = $("cameras").value;
  const wanted = { width: { ideal: 1920 }, height: { ideal: 1080 }, ...(id ? { deviceId: { exact: id } } : {}) };
  try {
    const found = await navigator.mediaDevices.getUserMedia({ video: wanted, audio: false });
    if (turn !== opening) { found.getTracks().forEach((track) => track.stop()); return; }
    stream = found;
    const [track] = stream.getVideoTracks();
    track.addEventListener("ended", () => { stopCamera(); $("camera-says").textContent = "The camera was disconnected; connect it and start it again."; });
    $("video").srcObject = stream;
    await $("video").play();
    await listCameras(track.getSettings().deviceId);
    $("camera-says").textContent = "Stills are sent to this service only. The page keeps the newest " + STILLS + ", and all marked ones.";
    $("order").value = "newest";
    showCamera();
  } catch (error) {
    if (turn !== opening) { return; }
    stopCamera();
    $("camera-says").textContent = REASONS[error.name] || "The camera cannot be used (" + error.message + "); choose another one.";
  }
}

async function listCameras(used) {
  const found = (await navigator.mediaDevices.enumerateDevices()).filter((device) => device.kind === "videoinput");
  $("cameras").replaceChildren(...found.map((device, i) => new Option(device.label || "Camera " + (i + 1), device.deviceId)));
  if (used) { $("cameras").value = used; }
}

function stopCamera() {
  opening += 1;
  if (stream) { stream.getTracks().forEach((track) => track.stop()); }
  stream = null; $("video").srcObject = null;
  repeat(false); showCamera();
}

function showCamera() {
  const on = stream !== null;
  for (const id of ["video", "camera-choice", "camera-seconds", "still", "repeat", "camera-stop"]) { $(id).hidden = !on; }
  $("camera-start").hidden = on; pressed($("repeat"), timer !== null); showLive();
}

function takeStill() {
  const video = $("video"), canvas = make("canvas"), taken = new Date();
  if (!stream || !video.videoWidth) { return; }
  canvas.width = video.videoWidth; canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  canvas.toBlob((blob) => {  // PNG, which loses nothing
    const name = "camera-" + taken.toISOString().replaceAll(":", "-") + ".png";
    add([new File([blob], name, { type: "image/png", lastModified: taken.getTime() })], true);
    images.filter((one) => one.still && !one.mark).sort((a, b) => b.file.lastModified - a.file.lastModified).slice(STILLS).forEach(drop);
    judge();
  });
}

function repeat(on) {
  clearTimeout(timer); timer = null;
  if (!on) { return; }
  const next = () => {
    if (!images.some((one) => one.still && one.state !== "done")) { takeStill(); }  // else it would run ahead of the service
    timer = setTimeout(next, 1000 * Math.max(0.2, Number($("seconds").value) || 2));
  };
  next();
}

function showLive() {
  const stills = images.filter((one) => one.still && one.state === "done");
  const one = stills.reduce((last, item) => last && last.file.lastModified > item.file.lastModified ? last : item, null);
  $("live").hidden = !stream || !one;
  if (one) { $("live").className = "verdict " + word(one); $("live").textContent = one.reply ? [word(one), shown(one.reply.image_score)].filter(Boolean).join(" · ") : one.error; }
}
