// Nothing is here but the frame: who is there, and the way back.

import { run } from "./shell.js";

await run(() => {});
