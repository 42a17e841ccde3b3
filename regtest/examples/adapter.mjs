// The same adapter in another language, with the service inside: `cmd:node adapter.mjs`. It keeps nothing on disk.
import fs from "node:fs";
import http from "node:http";

let site;
const payouts = new Map();

async function rpc(path, method, ...params) {
  const login = fs.readFileSync(site.cookie_path).toString("base64");
  const body = JSON.stringify({ method, params, id: 0 });
  const reply = await fetch(site.rpc_url + path, { method: "POST", headers: { Authorization: `Basic ${login}` }, body });
  const { result, error } = await reply.json();
  if (error) throw new Error(`${method}: ${error.message}`);
  return result;
}
const wallet = (method, ...params) => rpc(`/wallet/${site.site}`, method, ...params);

async function pay(payout) {
  payout.txid = await wallet("sendtoaddress", payout.address, (payout.sats / 1e8).toFixed(8));
  payout.status = "sent";
}

async function check(payout) {
  const { confirmations } = await wallet("gettransaction", payout.txid);
  if (confirmations !== 0) payout.status = confirmations > 0 ? "done" : "failed";
}

const answers = {
  open: (asked) => {
    if (asked.signing !== "sound") throw Object.assign(new Error("its signer cannot pad"), { name: "cannot_play" });
    site = asked;
  },
  start: async () => { await rpc("/", "createwallet", site.site, false, false, "", false, true, true); },
  stop: () => {},
  close: () => {},
  deposit_address: async ({ kind }) => ({ address: await wallet("getnewaddress", "", kind) }),
  enqueue: (asked) => { if (!payouts.has(asked.request_id)) payouts.set(asked.request_id, { ...asked, status: "new" }); },
  cancel: ({ request_id: id }) => {
    const cancelled = payouts.get(id).status === "new";
    if (cancelled) payouts.get(id).status = "cancelled";
    return { cancelled };
  },
  tick: async () => {
    for (const payout of payouts.values()) {
      if (payout.status === "new") await pay(payout);
      else if (payout.status === "sent") await check(payout);
    }
  },
  status: ({ request_id: id }) => ({ status: payouts.get(id).status }),
  support_retry: async ({ request_id: id }) => {
    const payout = payouts.get(id), again = payout.status === "failed";
    if (again) await pay(payout);
    return { paid_again: again, words: again ? "we are sorry: it was sent again" : payout.status };
  },
};

const server = http.createServer((request, response) => {
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk)).on("end", async () => {
    let status = 200, said;
    try {
      if (request.method === "GET") said = { version: 1, name: "javascript", offers: [] };
      else said = await answers[request.url.slice(1)](JSON.parse(Buffer.concat(chunks).toString())) ?? {};
    } catch (error) {
      [status, said] = [500, { error: { type: error.name, message: error.message } }];
    }
    response.writeHead(status, { "Content-Type": "application/json" }).end(JSON.stringify(said));
  });
});
server.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}`));
