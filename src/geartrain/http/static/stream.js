// Server-sent events over fetch. The browser's own EventSource can send no token, and does not tell why it failed.

const SILENCE = 6000; // milliseconds without a word after which a connection counts as lost: events come each second

/** An answer that is not the stream: `status` says why. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/**
 * Reads one stream to its end, or until `signal` aborts it.
 *
 * @param {string} url
 * @param {RequestInit} init
 * @param {(name: string, data: any) => void} take called for each event
 * @param {number} silence milliseconds; 0 for a stream that may be silent
 */
export async function read(url, init, take, silence = SILENCE) {
  const control = new AbortController();
  init.signal?.addEventListener("abort", () => control.abort(), { once: true });
  let timer = 0;
  const alive = () => {
    clearTimeout(timer);
    if (silence) timer = setTimeout(() => control.abort(), silence);
  };
  alive();
  try {
    const headers = { ...init.headers, Accept: "text/event-stream, application/json;q=0.5" };
    const response = await fetch(url, { ...init, headers, signal: control.signal, cache: "no-store" });
    if (!response.ok || !response.headers.get("content-type")?.startsWith("text/event-stream"))
      throw new Refused(response.status, await reason(response));
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      alive();
      const events = (rest + value).split("\n\n");
      rest = events.pop();
      for (const event of events) deliver(event, take);
    }
  } finally {
    clearTimeout(timer);
    control.abort();
  }
}

function deliver(event, take) {
  let name = "message";
  const data = [];
  for (const line of event.split("\n")) {
    if (line.startsWith("event:")) name = line.slice(6).trim();
    else if (line.startsWith("data:")) data.push(line.slice(5).trimStart());
  }
  if (data.length) take(name, JSON.parse(data.join("\n")));
}

/** The sentence of an error's answer. */
export async function reason(response) {
  const text = await response.text().catch(() => "");
  try {
    const { error } = JSON.parse(text);
    return error.message;
  } catch {
    return text.slice(0, 500).trim() || `The server answered ${response.status}.`;
  }
}
