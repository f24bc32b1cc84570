// The walk of script/browser-walk: fails with the first thing that a buyer should see and does not.
"use strict";
const { chromium } = require("playwright-core");
const assert = require("node:assert");

const { API, CHROMIUM, FOLDER } = process.env;
const PAYS = "4201320111111010";
const LACKS_FUNDS = "4201320000311101";

async function checkout(locale) {
  const answer = await fetch(`${API}/api/v1/pricing/checkout`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({
      plan_id: "growth",
      customer_name: "شركة المثال",
      customer_email: `walk-${locale}-${Date.now()}@example.com`,
      locale,
    }),
  });
  assert.equal(answer.status, 200, await answer.clone().text());
  return answer.json();
}

async function pay(page, number) {
  await page.fill('[name="name"]', "Sandbox Payer");
  await page.fill('[name="number"]', number);
  for (const [name, value] of [["expiry", "12/30"], ["month", "12"], ["year", "30"], ["cvc", "123"]]) {
    const field = page.locator(`[name="${name}"]`);
    if (await field.count()) { await field.fill(value); }
  }
  await Promise.all([page.waitForLoadState("load"), page.click('button[type="submit"]')]);
}

async function walk(browser, { locale, dir, success, decline, waiting }) {
  const complaints = [];
  const page = await browser.newPage({ viewport: { width: 420, height: 860 }, locale });
  page.on("console", (line) => { if (line.type() === "error") { complaints.push(`${line.text()} ${line.location().url}`); } });
  page.on("pageerror", (error) => complaints.push(String(error)));
  const shot = (name) => page.screenshot({ path: `${FOLDER}/${locale}-${name}.png`, fullPage: true });

  const sold = await checkout(locale);
  const status = `${API}/checkout/${sold.checkout_id}`;
  await page.goto(status);
  assert.ok((await page.textContent("h1")).includes(waiting), `${locale}: the page waits`);
  await shot("1-waiting");

  await page.goto(sold.payment_url);
  await shot("2-payment-page");
  await pay(page, LACKS_FUNDS);
  assert.match(await page.textContent("body"), /INSUFFICIENT FUNDS/i, `${locale}: the decline is shown`);
  await shot("3-declined");

  await page.goto(status);
  await page.locator(".decline").waitFor({ timeout: 15000 });
  assert.ok((await page.textContent(".decline")).includes(decline), `${locale}: our page tells of the decline`);
  await shot("4-declined-status");
  await Promise.all([page.waitForLoadState("load"), page.click("a.button")]);

  await pay(page, PAYS);
  await page.waitForURL(`${status}**`, { timeout: 15000 });
  await page.locator(`h1:has-text("${success}")`).waitFor({ timeout: 15000 });
  assert.equal(await page.getAttribute("html", "dir"), dir);
  assert.equal(await page.getAttribute("html", "lang"), locale);
  await shot("5-paid");
  assert.ok(complaints.length === 0, `${locale}: the browser complains: ${complaints.join("; ")}`);
  await page.close();
  console.log(`ok   ${locale} (${dir}): waited, declined, paid at the second attempt`);
}

(async () => {
  const browser = await chromium.launch({
    executablePath: CHROMIUM,
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
      "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
  try {
    await walk(browser, {
      locale: "ar", dir: "rtl", success: "تم الدفع بنجاح", decline: "لم تُقبل المحاولة الأخيرة", waiting: "بانتظار الدفع",
    });
    await walk(browser, {
      locale: "en", dir: "ltr", success: "Payment successful", decline: "The last attempt was declined", waiting: "Waiting for your payment",
    });
    const page = await browser.newPage();
    const complaints = [];
    page.on("console", (line) => { if (line.type() === "error") { complaints.push(`${line.text()} ${line.location().url}`); } });
    await page.goto(`${API}/docs`);
    await page.locator(".opblock").first().waitFor({ timeout: 20000 });
    await page.screenshot({ path: `${FOLDER}/docs.png` });
    assert.ok(complaints.length === 0, `docs: the browser complains: ${complaints.join("; ")}`);
    console.log("ok   docs: Swagger UI shows the operations under its policy");
  } finally {
    await browser.close();
  }
})().catch((error) => { console.error(error.message || error); process.exit(1); });
