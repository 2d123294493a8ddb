"""Keys of the page, so that a hand can stay on the brush: each presses a button or turns the brush.

Not while something is typed, and not with Ctrl, Alt or Meta, which are the browser's.
"""

import json

KEYS = {  # key -> (elem_id of a button, what the page says of it)
    "n": ("next", "next picture"),
    "p": ("previous", "the one before"),
    "a": ("accept", "accept the mask with its strokes, and next"),
    "e": ("teach", "save it and use it as an example"),
    "f": ("again", "find it again"),
}
TOOLS = {"z": "Undo", "y": "Redo", "+": "Zoom in", "-": "Zoom out"}  # of the editor's own buttons
SMALLER, LARGER = "[", "]"
STEP = 4  # pixels of the brush's width

HELP = "Keys: " + ", ".join(
    [f"**{key}** {said}" for key, (_, said) in KEYS.items()]
    + [f"**{key}** {tool.lower()}" for key, tool in TOOLS.items()]
    + [f"**{SMALLER}** **{LARGER}** smaller and larger brush"]
)

_BUTTONS = json.dumps({key: button for key, (button, _) in KEYS.items()})
HEAD = f"""<script>
document.addEventListener("keydown", (event) => {{
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input:not([type=range]), textarea, [contenteditable]")) return;
  const button = ({_BUTTONS})[event.key];
  if (button) {{
    document.querySelector(`button#${{button}}, #${{button}} button`)?.click();
    event.preventDefault();
  }}
  const editor = document.querySelector("#paint:hover") || document.querySelector("#fix");
  const tool = ({json.dumps(TOOLS)})[event.key];
  if (tool) editor.querySelector(`[aria-label="${{tool}}"]`)?.click();
  const turn = {{"{SMALLER}": -{STEP}, "{LARGER}": {STEP}}}[event.key];
  if (turn) {{
    const size = editor.querySelector("input[type=range]");
    if (!size) {{  // the first press shows it, as it is
      editor.querySelector('[aria-label="Brush"]')?.click();
      setTimeout(() => editor.querySelector('[aria-label="Brush Size"]')?.click(), 300);
      return;
    }}
    size.value = Math.max(1, Number(size.value) + turn);
    size.dispatchEvent(new Event("input", {{bubbles: true}}));
    event.preventDefault();
  }}
}});
</script>"""
