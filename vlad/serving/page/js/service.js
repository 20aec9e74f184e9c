// Requests to the service, and the key that it may require.
const WRONG_KEY = "This service does not know this key; check it.";
let key = sessionStorage.getItem("key") || "";

async function ask(path, options) {
  for (;;) {
    const reply = await fetch(path, { ...options, headers: key ? { Authorization: "Bearer " + key } : {} });
    if (reply.status === 429) { await pause(Number(reply.headers.get("Retry-After")) || 1); continue; }
    $("login").hidden = reply.status !== 401;
    if (reply.status === 204) { return null; }
    if (reply.status === 401) { throw new Error(key ? WRONG_KEY : "This service requires an API key."); }
    const found = await reply.json();
    if (!reply.ok) { throw new Error(found.detail); }
    return found;
  }
}

function login(event) {
  event.preventDefault();
  const typed = $("key").value.trim();
  if (!/^[!-~]+$/.test(typed)) { $("lead").textContent = WRONG_KEY; return; }  // a header cannot hold it
  key = typed; sessionStorage.setItem("key", key); begin();
}
