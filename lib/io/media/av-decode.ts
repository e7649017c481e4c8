/** Video files through FFmpeg's libraries in this process. */
import { resolve } from "node:path";
import type { CodecContext, FilterContext, FilterGraph, FormatContext, Frame, Stream } from "node-av/lib";
import { mediaInvalid, throwIfAborted } from "./abort.js";
import type { Av } from "./av.js";
import type { DecodeJob, VideoProbe } from "./backend.js";
import { containersRead, maxVideoFrames, pixelAspect } from "./decoder-limits.js";
import { maxPixels } from "./frames.js";

const op = "readVideo";
const turns: Readonly<Record<VideoProbe["rotation"], string>> = {
  0: "",
  90: "transpose=clock,",
  180: "hflip,vflip,",
  270: "transpose=cclock,",
};

function check(av: Av, path: string, what: string, code: number): void {
  if (code >= 0) return;
  throw mediaInvalid(path, `FFmpeg could not ${what}: ${av.lib.FFmpegError.strerror(code)}`);
}

/** An open file and its video stream. */
class Input implements AsyncDisposable {
  readonly path: string;
  readonly format: FormatContext;
  readonly stream: Stream;

  private constructor(path: string, format: FormatContext, stream: Stream) {
    this.path = path;
    this.format = format;
    this.stream = stream;
  }

  static async open(av: Av, path: string): Promise<Input> {
    const { FormatContext, Dictionary } = av.lib;
    const format = new FormatContext();
    try {
      // A playlist in a file with a video's name must not open other files or addresses.
      using options = Dictionary.fromObject({ protocol_whitelist: "file", format_whitelist: containersRead });
      check(av, path, "open it", await format.openInput(`file:${resolve(path)}`, null, options));
      check(av, path, "find its streams", await format.findStreamInfo());
      const index = format.findBestStream(av.constants.AVMEDIA_TYPE_VIDEO);
      const stream = index < 0 ? undefined : format.streams[index];
      if (stream === undefined) throw mediaInvalid(path, "holds no video");
      const { width, height } = stream.codecpar;
      if (!(width > 0 && height > 0 && width * height <= maxPixels)) {
        throw mediaInvalid(path, `has frames of ${width}×${height}, expected at most ${maxPixels} pixels`);
      }
      return new Input(path, format, stream);
    } catch (error) {
      await format[Symbol.asyncDispose]();
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.format[Symbol.asyncDispose]();
  }
}

/** Size, turn and time stamps, by reading all packets and decoding none. */
export async function probeWithAv(av: Av, path: string, signal: AbortSignal | undefined): Promise<VideoProbe> {
  await using input = await Input.open(av, path);
  const { stream } = input;
  const tick = stream.timeBase.toDouble();
  const times: number[] = [];
  for await (const packet of packetsOf(av, input, signal)) {
    if (packet.hasFlags(av.constants.AV_PKT_FLAG_DISCARD)) continue;
    const stamp = packet.pts === av.constants.AV_NOPTS_VALUE ? packet.dts : packet.pts;
    times.push(stamp === av.constants.AV_NOPTS_VALUE ? times.length * tick : Number(stamp) * tick);
    if (times.length > maxVideoFrames) throw mediaInvalid(path, `has more than ${maxVideoFrames} frames`);
  }
  times.sort((a, b) => a - b);
  const rotation = rotationOf(av, stream);
  const { num, den } = stream.sampleAspectRatio;
  const shown = {
    width: Math.max(1, Math.round(stream.codecpar.width * pixelAspect(num, den))),
    height: stream.codecpar.height,
  };
  const lying = rotation === 90 || rotation === 270;
  const rate = stream.avgFrameRate;
  return {
    width: lying ? shown.height : shown.width,
    height: lying ? shown.width : shown.height,
    rotation,
    times,
    tick,
    nominalRate: rate.num > 0 && rate.den > 0 ? rate.toDouble() : undefined,
  };
}

/** Phones film lying and say in a matrix how to turn the picture. */
function rotationOf(av: Av, stream: Stream): VideoProbe["rotation"] {
  const matrix = stream.codecpar.getCodedSideData(av.constants.AV_PKT_DATA_DISPLAYMATRIX);
  if (matrix === null || matrix.length < 36) return 0;
  const angle = (Math.atan2(matrix.readInt32LE(4), matrix.readInt32LE(0)) * 180) / Math.PI;
  const turned = ((Math.round(angle / 90) * 90) % 360) + (angle < -45 ? 360 : 0);
  return turned === 90 || turned === 180 || turned === 270 ? turned : 0;
}

/** One packet object, filled again for each packet of the video stream. */
async function* packetsOf(av: Av, { path, format, stream }: Input, signal: AbortSignal | undefined) {
  using packet = new av.lib.Packet();
  packet.alloc();
  for (;;) {
    throwIfAborted(op, signal);
    const code = await format.readFrame(packet);
    if (code === av.constants.AVERROR_EOF) return;
    check(av, path, "read on", code);
    if (packet.streamIndex === stream.index) yield packet;
    packet.unref();
  }
}

export async function* decodeWithAv(av: Av, job: DecodeJob): AsyncGenerator<Uint8Array, void, undefined> {
  await using input = await Input.open(av, job.path);
  using decoder = await openDecoder(av, input);
  using filters = new Filters(av, job, `${turns[rotationOf(av, input.stream)]}${job.filters}`);
  using frame = new av.lib.Frame();
  frame.alloc();
  let index = 0;
  for await (const packet of withEnd(packetsOf(av, input, job.signal))) {
    check(av, job.path, "decode a frame", await decoder.sendPacket(packet));
    while (await receive(av, job.path, decoder, frame)) {
      throwIfAborted(op, job.signal);
      if (index >= job.first) yield await filters.apply(frame, input.stream);
      frame.unref();
      if (index++ >= job.last) return;
    }
  }
}

/** After the last packet, null: the decoder then gives what it holds back. */
async function* withEnd<T>(items: AsyncIterable<T>): AsyncGenerator<T | null, void, undefined> {
  yield* items;
  yield null;
}

async function receive(av: Av, path: string, decoder: CodecContext, frame: Frame): Promise<boolean> {
  const code = await decoder.receiveFrame(frame);
  if (code === av.constants.AVERROR_EOF || code === av.lib.FFmpegError.AVERROR(av.lib.PosixError.EAGAIN)) return false;
  check(av, path, "decode", code);
  if (frame.decodeErrorFlags !== 0) throw mediaInvalid(path, "a frame's data is damaged");
  return true;
}

async function openDecoder(av: Av, { path, stream }: Input): Promise<CodecContext> {
  const { Codec, CodecContext, Dictionary } = av.lib;
  const codec = Codec.findDecoder(stream.codecpar.codecId);
  if (codec === null) throw mediaInvalid(path, "is of a codec that FFmpeg has no decoder for here");
  const decoder = new CodecContext();
  decoder.allocContext3(codec);
  try {
    check(av, path, "set its decoder up", decoder.parametersToContext(stream.codecpar));
    decoder.pktTimebase = stream.timeBase;
    using options = Dictionary.fromObject({ max_pixels: String(maxPixels), threads: "auto", err_detect: "explode" });
    check(av, path, `open the decoder ${codec.name}`, await decoder.open2(codec, options));
    return decoder;
  } catch (error) {
    decoder.freeContext();
    throw error;
  }
}

/** A chain of filters from decoded frames to RGB bytes; made anew when the frames change in the middle of a file. */
class Filters implements Disposable {
  readonly #av: Av;
  readonly #job: DecodeJob;
  readonly #chain: string;
  #graph: FilterGraph | undefined;
  #ends: { readonly source: FilterContext; readonly sink: FilterContext } | undefined;
  #kind = "";

  constructor(av: Av, job: DecodeJob, chain: string) {
    this.#av = av;
    this.#job = job;
    this.#chain = chain;
  }

  async apply(frame: Frame, stream: Stream): Promise<Uint8Array> {
    const { path, width, height } = this.#job;
    const kind = [frame.width, frame.height, frame.format, frame.colorSpace, frame.colorRange].join();
    if (this.#ends === undefined || kind !== this.#kind) this.#ends = await this.#build(frame, stream);
    this.#kind = kind;
    const { source, sink } = this.#ends;
    check(this.#av, path, "scale a frame", await source.buffersrcAddFrame(frame));
    using scaled = new this.#av.lib.Frame();
    scaled.alloc();
    check(this.#av, path, "scale a frame", await sink.buffersinkGetFrame(scaled));
    const bytes = scaled.toBuffer();
    if (bytes.length === width * height * 3) return bytes;
    throw mediaInvalid(path, `gave a frame of ${scaled.width}×${scaled.height}, expected ${width}×${height}`);
  }

  async #build(frame: Frame, stream: Stream): Promise<{ source: FilterContext; sink: FilterContext }> {
    const { lib } = this.#av;
    this.#graph?.free();
    const graph = new lib.FilterGraph();
    this.#graph = graph;
    graph.alloc();
    const { num, den } = stream.timeBase;
    const size = `video_size=${frame.width}x${frame.height}:pix_fmt=${frame.format}`;
    const source = `buffer@in=${size}:time_base=${num}/${den}:colorspace=${frame.colorSpace}:range=${frame.colorRange}`;
    check(this.#av, this.#job.path, "convert its frames", graph.parse2(`${source},${this.#chain},buffersink@out`));
    check(this.#av, this.#job.path, "convert its frames", await graph.config());
    const ends = { source: graph.getFilter("buffer@in"), sink: graph.getFilter("buffersink@out") };
    if (ends.source === null || ends.sink === null) throw mediaInvalid(this.#job.path, "has frames of an unknown kind");
    return { source: ends.source, sink: ends.sink };
  }

  [Symbol.dispose](): void {
    this.#graph?.free();
  }
}
