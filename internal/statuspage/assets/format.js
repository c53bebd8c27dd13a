// How numbers are written. An unknown one is a dash.

const grouped = new Intl.NumberFormat("en");
const tenths = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const compact = new Intl.NumberFormat("en", { notation: "compact", minimumSignificantDigits: 3, maximumSignificantDigits: 3 });
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

export const unknown = "–";

// count is a whole number.
export const count = (n) => grouped.format(Math.round(n));

// short is a whole number, of four digits at the most from 100,000 on.
export const short = (n) => (n < 100_000 ? count(n) : compact.format(n));

// rate is points a second.
export const rate = (n) => (n > 0 && n < 9.95 ? tenths.format(n) : short(n));

export function milliseconds(ms) {
  if (ms >= 1000) return duration(ms / 1000);
  return (ms > 0 && ms < 9.95 ? tenths.format(ms) : count(ms)) + " ms";
}

// duration is seconds in the two units that matter.
export const duration = (seconds) => (seconds < 9.95 ? `${tenths.format(seconds)} s` : age(seconds));

// age is duration in whole seconds.
export function age(seconds) {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 86_400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86_400)} d ${Math.floor((whole % 86_400) / 3600)} h`;
}

export function bytes(n) {
  for (const unit of ["B", "KiB", "MiB"]) {
    if (n < 1024) return `${n < 9.95 && unit !== "B" ? tenths.format(n) : count(n)} ${unit}`;
    n /= 1024;
  }
  return `${tenths.format(n)} GiB`;
}

export const time = (date) => clock.format(date);
