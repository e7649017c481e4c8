/** "Within a second", on machines that do other things at the same time: a second of processor time, and no hanging. */

const mostCpuMs = 1000;
const mostWallMs = 10_000;

/** Starts a watch; the function it answers throws when that was too long ago. */
export function within(): () => void {
  const cpu = process.cpuUsage();
  const wall = performance.now();
  return () => {
    const { user, system } = process.cpuUsage(cpu);
    const [cpuMs, wallMs] = [(user + system) / 1000, performance.now() - wall];
    if (cpuMs < mostCpuMs && wallMs < mostWallMs) return;
    throw new Error(`took ${cpuMs.toFixed(0)} ms of processor time, ${wallMs.toFixed(0)} ms in all`);
  };
}
