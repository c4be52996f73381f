// Marks of decisions, as paths of SVG: shapes differ as well as colours. `s` is the size.

export const SHAPES = {
  abnormal: (s) => `M0${-1.2 * s} ${1.2 * s} ${s} ${-1.2 * s} ${s}Z`,
  uncertain: (s) => `M0${-1.35 * s} ${1.35 * s} 0 0 ${1.35 * s} ${-1.35 * s} 0Z`,
  blank: (s) => `M${-s}${-s} ${s} ${s}M${s}${-s} ${-s} ${s}`,
  undecided: (s) =>
    `M${-0.7 * s} 0a${0.7 * s} ${0.7 * s} 0 1 0 ${1.4 * s} 0a${0.7 * s} ${0.7 * s} 0 1 0 ${-1.4 * s} 0Z`,
  normal: (s) => `M${-0.8 * s} 0a${0.8 * s} ${0.8 * s} 0 1 0 ${1.6 * s} 0a${0.8 * s} ${0.8 * s} 0 1 0 ${-1.6 * s} 0Z`,
};
