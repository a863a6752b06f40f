/** The request of the page as a command line, to be copied. */

/** The curl command that asks *model* about *files*. */
export function curlCommand(model, files) {
  const shown = files.slice(0, 3).map((file) => `-F image=@${quoted(file.name)}`);
  const query = model ? `?model=${encodeURIComponent(model)}` : "";
  return ["curl", ...shown, quoted(`${location.origin}/v1/predict${query}`)].join(" ");
}

/** Make *button* copy the text of *code*; without a clipboard it selects it. */
export function copyOnClick(button, code) {
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    } catch {
      // Browsers lend the clipboard to https and localhost only.
      getSelection().selectAllChildren(code);
    }
  });
}

function quoted(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
