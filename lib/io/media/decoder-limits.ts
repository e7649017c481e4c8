/** What is read of video files, the same through node-av and through the ffmpeg program. */

/** FFmpeg's names of the containers. Playlists and lists of files are not among them. */
export const containersRead = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi";

/** Eleven hours at 24 a second. */
export const maxVideoFrames = 1_000_000;

/** Width of a pixel by its height. What is outside is taken for a mistake, and the pixels for square. */
export function pixelAspect(across: number, down: number): number {
  const aspect = across / down;
  return aspect >= 1 / 8 && aspect <= 8 ? aspect : 1;
}
