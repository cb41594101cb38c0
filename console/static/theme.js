// Runs before the first paint: applies the chosen theme and language, or the system's by default.
(() => {
  const root = document.documentElement;
  const read = (key) => {
    try {
      return localStorage.getItem(key);
    } catch {
      return null;
    }
  };
  const theme = read("portico.theme");
  if (theme === "light" || theme === "dark") root.dataset.theme = theme;
  const chosen = read("portico.language") || navigator.language || "en";
  root.lang = chosen.toLowerCase().startsWith("zh") ? "zh" : "en";
})();
