// Asking the API over HTTP.

/** GET or, with a body, POST as JSON. Throws an `Error` whose message a person can read; null where there is nothing. */
export async function ask(path, { body, signal } = {}) {
  const post = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  let answer;
  try {
    answer = await fetch(path, { signal, ...(body ? post : {}) });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Error("the server does not answer", { cause: error });
  }
  if (answer.status === 404 && !body) return null;
  const said = await answer.json().catch(() => null);
  if (!answer.ok) throw new Error(words(said) || `the server answers ${answer.status}`);
  return said;
}

function words(said) {
  return [said?.detail, said?.error].find((word) => typeof word === "string" && word !== "");
}
