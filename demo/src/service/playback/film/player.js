// Plays a title with hls.js and says by CMCD (CTA-5004) how it goes. What the
// player itself knows of that is kept in `window.record`, for whoever wants to
// compare. Arguments of the page, all optional:
//
//   title      which one; 1
//   cmcd       query or headers: how CMCD is sent; query
//   version    1 or 2, of CMCD; 1
//   buffer     seconds of film to load ahead; 30
//   half_life  seconds in which an old measurement of the network loses half its
//              weight; 9. Small: the player changes bitrates sooner.
'use strict';

const given = new URLSearchParams(location.search);
const argument = (name, otherwise) => given.get(name) ?? otherwise;

const record = {
  library: null, // version of hls.js
  startup_ms: null, // from the order to load until frames moved
  levels: [], // {at_ms, bitrate}: what is shown, whenever that changes
  stalls: [], // {at_ms, resumed_ms}: frames stood still though they should not
  requests: [], // {at_ms, path, cmcd}: what was sent, with all of its CMCD
  errors: [], // what the library complained of
  ended: false,
};
window.record = record;

const began = performance.now();
const now = () => performance.now() - began;
const video = document.getElementById('video');

function play() {
  const halfLife = Number(argument('half_life', 9));
  const buffer = Number(argument('buffer', 30));
  const hls = new Hls({
    cmcd: {
      contentId: argument('title', '1'),
      useHeaders: argument('cmcd', 'query') === 'headers',
      version: Number(argument('version', 1)),
    },
    maxBufferLength: buffer,
    maxMaxBufferLength: buffer,
    abrEwmaFastVoD: halfLife / 3,
    abrEwmaSlowVoD: halfLife,
    // Called for each attempt, just before it is sent.
    xhrSetup: (_request, url, { headers = {} }) => {
      const { pathname, searchParams } = new URL(url, location);
      const lines = Object.entries(headers).filter(([name]) => /^cmcd-/i.test(name));
      const cmcd = searchParams.get('CMCD') ?? lines.map(([_name, value]) => value).join(',');
      record.requests.push({ at_ms: now(), path: pathname, cmcd: cmcd || null });
    },
  });
  record.library = Hls.version;
  hls.on(Hls.Events.LEVEL_SWITCHED, (_event, { level }) => {
    record.levels.push({ at_ms: now(), bitrate: hls.levels[level].bitrate });
  });
  hls.on(Hls.Events.ERROR, (_event, { details, fatal }) => {
    record.errors.push({ at_ms: now(), details, fatal });
  });
  const master = `/playback/${encodeURIComponent(argument('title', '1'))}/hls/master.m3u8`;
  // Whole: hls.js 1.7 sends no CMCD with the first request where it is not.
  hls.loadSource(new URL(master, location).href);
  hls.attachMedia(video);
}

video.addEventListener('playing', () => {
  record.startup_ms ??= now();
  const stall = record.stalls.at(-1);
  if (stall) stall.resumed_ms ??= now();
});
video.addEventListener('waiting', () => {
  // Before the first frame moves it is not a stall but the start.
  if (record.startup_ms !== null) record.stalls.push({ at_ms: now(), resumed_ms: null });
});
video.addEventListener('ended', () => {
  record.ended = true;
});

if (window.Hls?.isSupported()) {
  play();
  video.play().catch((error) => record.errors.push({ at_ms: now(), details: String(error), fatal: true }));
} else {
  record.errors.push({ at_ms: now(), details: 'no hls.js, or no media source extensions', fatal: true });
}
setInterval(() => {
  document.getElementById('record').textContent = JSON.stringify({ ...record, requests: record.requests.length }, null, 2);
}, 1000);
