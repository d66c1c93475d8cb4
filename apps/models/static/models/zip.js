// Looks into a zip's directory, which stands at its end, before anything of it is sent.
"use strict";
window.zipDirectory = (() => {
  const TAIL = 65557; // a directory's end with the longest comment
  const MOST = 32 * 1024 * 1024; // bytes of a directory, as the import has it
  const PICKLES = /\.(bin|pt|pth|pkl|pickle|ckpt|joblib|h5|keras)$/i;
  const NESTED = /\.(zip|tar|gz|tgz|bz2|xz|7z|rar|zst|jar|whl)$/i;
  const CONFIG = /^([^/]+\/)?adapter_config\.json$/;
  const ADAPTER = "adapter"; // a kind beside the formats of weights
  const MOST_CONFIG = 1024 * 1024; // bytes of an adapter's configuration
  const read = async (file, from, to) => new DataView(await file.slice(from, to).arrayBuffer());
  const large = (view, at) => Number(view.getBigUint64(at, true));

  async function directory(file) {
    const start = Math.max(file.size - TAIL, 0);
    const tail = await read(file, start, file.size);
    let end = tail.byteLength - 22;
    while (end >= 0 && tail.getUint32(end, true) !== 0x06054b50) end -= 1;
    if (end < 0) return null;
    let [count, size, offset] = [tail.getUint16(end + 10, true), tail.getUint32(end + 12, true), tail.getUint32(end + 16, true)];
    if (count === 0xffff || size === 0xffffffff || offset === 0xffffffff) {
      if (end < 20 || tail.getUint32(end - 20, true) !== 0x07064b50) return null;
      const at = large(tail, end - 12);
      const more = await read(file, at, at + 56);
      if (more.byteLength < 56 || more.getUint32(0, true) !== 0x06064b50) return null;
      [count, size, offset] = [large(more, 32), large(more, 40), large(more, 48)];
    }
    if (size > MOST) return { long: true };
    if (offset + size > file.size) return null;
    return { view: await read(file, offset, offset + size), count };
  }
  function entries({ view, count }) {
    const found = [];
    const words = new TextDecoder();
    for (let at = 0; found.length < count && at + 46 <= view.byteLength; ) {
      if (view.getUint32(at, true) !== 0x02014b50) return null;
      const [name, extra, comment] = [28, 30, 32].map((place) => view.getUint16(at + place, true));
      const path = words.decode(new Uint8Array(view.buffer, view.byteOffset + at + 46, name));
      const [method, packed, at0] = [view.getUint16(at + 10, true), view.getUint32(at + 20, true), view.getUint32(at + 42, true)];
      found.push({ path, encrypted: Boolean(view.getUint16(at + 8, true) & 1), method, packed, offset: at0 });
      at += 46 + name + extra + comment;
    }
    return found;
  }
  function kinds(paths) {
    const has = (pattern) => paths.some((path) => pattern.test(path));
    if (has(/(^|\/)adapter_config\.json$/)) return ADAPTER;
    if (has(/\.onnx$/i)) return "ONNX";
    if (has(/\.safetensors$/i)) return "safetensors";
    return has(/\.gguf$/i) ? "GGUF" : "";
  }
  // The model that an adapter was made for, as its configuration names it; "" where that can't be told.
  async function named(file, entry) {
    try {
      const head = await read(file, entry.offset, entry.offset + 30);
      if (entry.packed > MOST_CONFIG || head.getUint32(0, true) !== 0x04034b50) return "";
      const start = entry.offset + 30 + head.getUint16(26, true) + head.getUint16(28, true);
      const stored = file.slice(start, start + entry.packed).stream();
      const plain = entry.method === 8 ? stored.pipeThrough(new DecompressionStream("deflate-raw")) : stored;
      const base = JSON.parse(await new Response(plain).text()).base_model_name_or_path;
      return typeof base === "string" ? base.slice(0, 300) : "";
    } catch { return ""; }
  }
  // { said, adapter, problem, warnings }, each [what, what to do]: the import would end with the problem as well; with a
  // warning it would be blocked by a rule that somebody with the permission may override.
  return async (file) => {
    const told = window.modelyard.words("#import-words");
    const cut = [told("cut"), told("cutStep")];
    try {
      const found = await directory(file);
      if (found && found.long) return { problem: [told("long"), told("longStep")] };
      const all = found && entries(found);
      if (!all) return { problem: cut };
      const files = all.filter(({ path }) => !path.endsWith("/") && !/(^|\/)(__MACOSX\/|\.DS_Store$|\.git\/)/.test(path));
      const paths = files.map(({ path }) => path);
      const kind = kinds(paths);
      const nested = paths.find((path) => NESTED.test(path));
      const locked = files.find(({ encrypted }) => encrypted);
      if (locked) return { problem: [told("locked", { path: locked.path }), told("lockedStep")] };
      const pickles = !kind && paths.some((path) => PICKLES.test(path));
      const weights = kind || (pickles && told("pickleKind"));
      if (nested && !weights) return { problem: [told("nested", { path: nested }), told("nestedStep")] };
      if (!weights) return { problem: [told("noWeights"), told("noWeightsStep")] };
      const config = kind === ADAPTER && files.find(({ path }) => CONFIG.test(path));
      if (kind === ADAPTER && !paths.some((path) => /\.safetensors$/i.test(path))) return { problem: [told("noAdapter"), told("noAdapterStep")] };
      const adapter = config ? await named(file, config) : null;
      const warnings = [];
      if (nested) warnings.push([told("nested", { path: nested }), told("nestedWarning")]);
      if (pickles) warnings.push([told("pickle"), told("pickleWarning")]);
      return { adapter, warnings, said: `${told(files.length === 1 ? "file" : "files", { n: files.length })} · ${kind === ADAPTER ? told("adapterKind") : weights}` };
    } catch { return { problem: [told("unreadable"), told("unreadableStep")] }; }
  };
})();
