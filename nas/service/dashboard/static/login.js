// A token becomes a cookie that scripts cannot read.

import { ask } from "./api.js";
import { byId, problem } from "./shell.js";

// Back to where they came from, but to this service only.
function next() {
  const asked = new URL(new URLSearchParams(location.search).get("next") ?? "/", location.origin);
  return asked.origin === location.origin ? asked.pathname + asked.search : "/";
}

byId("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const token = byId("token").value.trim();
  try {
    await ask("/session", { method: "POST", body: { token } });
    location.assign(next());
  } catch (error) {
    problem(byId("login-problem"), error);
    byId("token").setAttribute("aria-invalid", "true");
    byId("token").focus();
  }
});

try {
  const session = await ask("/session");
  if (!session.needs_token) location.assign(next());
} catch {
  // Nobody yet: that is what the page is for.
}
byId("token").focus();
