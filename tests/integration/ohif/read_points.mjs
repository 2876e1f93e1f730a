// Opens a study in OHIF, loads its structured report, goes to the first point, and prints the points
// that OHIF then has and the circles that it draws.
// node read_points.mjs MODULES CHROMIUM URL PROFILE SCREENSHOT
import { createRequire } from 'node:module';

const [modules, chromium, url, profile, screenshot] = process.argv.slice(2);
const puppeteer = createRequire(`${modules}/`)('puppeteer-core');
const wait = 60_000;

// The label is the measurement service's, the place that of the tool that draws the point. A circle
// is a place on the canvas, and the place in the patient that the viewport shows there.
function readPoints() {
  const measurements = window.services.measurementService.getMeasurements();
  const named = new Map(measurements.map(one => [one.uid, one]));
  const points = window.cornerstoneTools.annotation.state
    .getAllAnnotations()
    .filter(one => one.metadata.toolName === 'Probe')
    .map(one => ({
      label: named.get(one.annotationUID).label,
      site: named.get(one.annotationUID).findingSites[0].text,
      lps: Array.from(one.data.handles.points[0]),
      frameOfReference: one.metadata.FrameOfReferenceUID,
    }));
  const { viewport } = window.cornerstone.getEnabledElements()[0];
  const circles = [...document.querySelectorAll('svg.svg-layer circle')].map(circle =>
    Array.from(viewport.canvasToWorld([circle.cx.baseVal.value, circle.cy.baseVal.value]))
  );
  return JSON.stringify({ points, circles });
}

const browser = await puppeteer.launch({
  executablePath: chromium,
  userDataDir: profile,
  protocolTimeout: wait,
  defaultViewport: { width: 1500, height: 900 },
  args: [
    '--headless=new', '--no-sandbox', '--disable-gpu', '--use-gl=angle', '--use-angle=swiftshader',
    '--enable-unsafe-swiftshader', '--disable-quic', '--no-first-run', '--disable-sync',
    '--disable-background-networking', '--disable-component-update',
  ],
});
try {
  const page = await browser.newPage();
  page.setDefaultTimeout(wait);
  const click = selector => page.locator(selector).click();
  await page.goto(url, { waitUntil: 'domcontentloaded' });
  await page.waitForSelector('[data-cy="study-browser-thumbnail"]');
  await click('::-p-text(Skip all)');
  // A presentation state has no image either.
  const report = await page.waitForSelector(
    '[data-cy="study-browser-thumbnail-no-image"] ::-p-text(Spine landmarks, SR)'
  );
  await report.click({ count: 2 });
  await click('[data-cy="yes-hydrate-btn"]');
  await page.waitForFunction(
    () => window.services.measurementService.getMeasurements().length > 0
  );
  await click('[data-cy="trackedMeasurements-btn"]');
  await click('::-p-text(T12-L1)');
  await new Promise(resolve => setTimeout(resolve, 3000)); // until all is drawn
  await page.screenshot({ path: screenshot });
  console.log(await page.evaluate(readPoints));
} finally {
  await browser.close();
}
