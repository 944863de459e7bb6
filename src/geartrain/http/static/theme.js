// Dark or light, before the first paint: the user's choice, or else the system's. A plain script, since modules run late.
{
  const chosen = localStorage.getItem("geartrain.theme");
  if (chosen) document.documentElement.dataset.theme = chosen;
}
