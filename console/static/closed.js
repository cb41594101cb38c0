// The session's cookie is SameSite=Strict: a link from another site comes without it, a request of this page has it.
const response = await fetch("/v1/me").catch(() => null);
if (response?.ok) location.replace("/");
