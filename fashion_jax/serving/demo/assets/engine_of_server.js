// Asks the server that has sent this page.

export const where = "The image is sent to the server that has sent this page. It is kept in memory until it is answered, and never stored.";

export const api = "docs";

const refusal = async (response) => {
  try {
    return (await response.json()).detail;
  } catch {
    return `the server has answered with status ${response.status}`;
  }
};

const pause = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

const send = async (address, files) => {
  const form = new FormData();
  for (const { name, content } of files) form.append("files", content, name || "image");
  for (let attempt = 0; ; attempt++) {
    let response;
    try {
      response = await fetch(address, { method: "POST", body: form });
    } catch {
      throw new Error("the server cannot be reached, or has broken off: is it still running?");
    }
    if (response.ok) return response.json();
    const seconds = Number(response.headers.get("Retry-After"));
    if (!seconds || attempt === 9) throw new Error(await refusal(response));
    await pause(seconds);
  }
};

export const open = async () => {
  const response = await fetch("api/model");
  if (!response.ok) throw new Error(await refusal(response));
  return response.json();
};

export const classify = (files) => send("api/predict", files);

export const explain = async (file) => (await send("api/explain", [file])).heat_maps;
