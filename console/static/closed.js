// A link from another site does not carry the session's cookie; this page's own request does.
const response = await fetch("/v1/me").catch(() => null);
if (response?.ok) location.replace("/");
