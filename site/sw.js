// Keeps the site, so that it works without a network once it was loaded. $VERSION changes with every file of the site.

const CACHE = "genai-labs-$VERSION";
const FILES = $FILES;

self.addEventListener("install", (event) => {
  event.waitUntil(caches.open(CACHE));
});

self.addEventListener("activate", (event) => {
  const old = async () => {
    const names = await caches.keys();
    await Promise.all(names.filter((name) => name.startsWith("genai-labs-") && name !== CACHE).map((name) => caches.delete(name)));
    await self.clients.claim();
  };
  event.waitUntil(old());
});

// What is asked for comes from what was kept, else from the network, and is kept then.
async function answer(request) {
  const cache = await caches.open(CACHE);
  const address = new URL(request.url);
  if (address.pathname.endsWith("/")) address.pathname += "index.html";
  const kept = await cache.match(address.href, { ignoreSearch: true });
  if (kept) return kept;
  const fresh = await fetch(request);
  if (fresh.ok && fresh.status === 200) await cache.put(address.href, fresh.clone());
  return fresh;
}

self.addEventListener("fetch", (event) => {
  const own = new URL(event.request.url).origin === self.location.origin;
  if (own && event.request.method === "GET") event.respondWith(answer(event.request));
});

self.addEventListener("message", (event) => {
  if (event.data !== "keep all") return;
  const rest = async () => {
    const cache = await caches.open(CACHE);
    for (const name of FILES) {
      const address = new URL(name, self.registration.scope).href;
      if (!(await cache.match(address))) await cache.add(address);
    }
  };
  event.waitUntil(rest());
});
