/** Photos that are chosen, dropped anywhere on the page, or pasted. */

/** Call *take* with the files, however they come. */
export function takeFiles(input, target, take) {
  input.addEventListener("change", () => {
    take([...input.files]);
    // So that the same file can be chosen again.
    input.value = "";
  });
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length) take(files);
  });
  takeDropped(target, take);
}

function takeDropped(target, take) {
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  document.addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    target.classList.add("over");
  });
  document.addEventListener("dragleave", (event) => {
    // No related target: the pointer left the window.
    if (!event.relatedTarget) target.classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    target.classList.remove("over");
    if (!hasFiles(event)) return;
    event.preventDefault();
    take([...event.dataTransfer.files]);
  });
}
