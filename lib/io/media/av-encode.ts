/** mp4 and webm through FFmpeg's libraries in this process. The event loop copies frames and waits; it never computes. */
import type { CodecContext, FormatContext, Frame, Packet, SoftwareScaleContext, Stream } from "node-av/lib";
import { HunyuanError } from "../../runtime/errors.js";
import { throwIfAborted } from "./abort.js";
import type { Av } from "./av.js";
import type { EncodeJob, VideoFormat } from "./backend.js";
import { containerTags, encoderOptions } from "./encoder-settings.js";
import { checkedFrames } from "./frames.js";
import { type Fraction, rateFraction } from "./timing.js";

const op = "encode";

/** FILE_ERROR for what FFmpeg could not do; the path is that of the file being made. */
function check(av: Av, path: string, what: string, code: number): void {
  if (code >= 0) return;
  const message = `${path}: FFmpeg could not ${what}: ${av.lib.FFmpegError.strerror(code)}`;
  throw new HunyuanError("FILE_ERROR", message, { op, file: path });
}

export async function encodeWithAv(av: Av, job: EncodeJob): Promise<void> {
  const { path, format, source, signal } = job;
  const { FormatContext, CodecContext, Packet } = av.lib;
  const rate = rateFraction(source.fps);
  const muxer = new FormatContext();
  using encoder = new CodecContext();
  using packet = new Packet();
  packet.alloc();
  try {
    check(av, path, `make a ${format} file`, muxer.allocOutputContext2(null, format, path));
    await openEncoder(av, encoder, job, rate);
    const stream = await openFile(av, muxer, encoder, job, rate);
    const drain = () => drainPackets(av, { path, muxer, encoder, stream, packet });
    using converter = new Converter(av, source.width, source.height);
    let index = 0;
    for await (const rgb of checkedFrames(op, source)) {
      throwIfAborted(op, signal);
      using frame = await converter.convert(rgb, index);
      check(av, path, "encode a frame", await encoder.sendFrame(frame));
      await drain();
      index++;
      job.onFrame(index);
    }
    throwIfAborted(op, signal);
    check(av, path, "end the encoding", await encoder.sendFrame(null));
    await drain();
    throwIfAborted(op, signal);
    check(av, path, "end the file", await muxer.writeTrailer());
  } finally {
    await muxer.closeOutput();
    muxer.freeContext();
  }
}

async function openEncoder(av: Av, encoder: CodecContext, job: EncodeJob, rate: Fraction): Promise<void> {
  const { lib, constants } = av;
  const name = job.format === "mp4" ? constants.FF_ENCODER_LIBX264 : constants.FF_ENCODER_LIBSVTAV1;
  const codec = lib.Codec.findEncoderByName(name);
  if (codec === null) {
    const message = `encode: node-av has no ${name} here; install ffmpeg and set HUNYUAN_VIDEO_BACKEND=ffmpeg, or write .webp`;
    throw new HunyuanError("ENCODER_MISSING", message, { format: job.format });
  }
  encoder.allocContext3(codec);
  encoder.width = job.source.width;
  encoder.height = job.source.height;
  encoder.pixelFormat = constants.AV_PIX_FMT_YUV420P;
  encoder.timeBase = new lib.Rational(rate.den, rate.num);
  encoder.framerate = new lib.Rational(rate.num, rate.den);
  encoder.sampleAspectRatio = new lib.Rational(1, 1);
  encoder.colorSpace = constants.AVCOL_SPC_BT709;
  encoder.colorPrimaries = constants.AVCOL_PRI_BT709;
  encoder.colorTrc = constants.AVCOL_TRC_BT709;
  encoder.colorRange = constants.AVCOL_RANGE_MPEG;
  // Both containers keep the codec's parameter sets in their header.
  encoder.setFlags(constants.AV_CODEC_FLAG_GLOBAL_HEADER);
  using options = lib.Dictionary.fromObject(encoderOptions(name, job.crf));
  check(av, job.path, `open ${name}`, await encoder.open2(codec, options));
}

async function openFile(
  av: Av,
  muxer: FormatContext,
  encoder: CodecContext,
  { path, format, metadata }: EncodeJob,
  rate: Fraction,
): Promise<Stream> {
  const { Dictionary, Rational } = av.lib;
  const stream = muxer.newStream(null);
  stream.timeBase = encoder.timeBase;
  stream.avgFrameRate = new Rational(rate.num, rate.den);
  check(av, path, "describe the stream", stream.codecpar.fromContext(encoder));
  if (metadata !== undefined) muxer.metadata = Dictionary.fromObject(containerTags(op, format, metadata));
  check(av, path, "open the file", await muxer.openOutput());
  using options = Dictionary.fromObject(headerOptions(format));
  check(av, path, "write the header", await muxer.writeHeader(options));
  return stream;
}

/** Faststart: the index before the data, so that a browser plays while it loads. */
function headerOptions(format: VideoFormat): Record<string, string> {
  return format === "mp4" ? { movflags: "+faststart" } : {};
}

interface Output {
  readonly path: string;
  readonly muxer: FormatContext;
  readonly encoder: CodecContext;
  readonly stream: Stream;
  readonly packet: Packet;
}

/** Writes what the encoder has ready. */
async function drainPackets(av: Av, { path, muxer, encoder, stream, packet }: Output): Promise<void> {
  const again = av.lib.FFmpegError.AVERROR(av.lib.PosixError.EAGAIN);
  for (;;) {
    const code = await encoder.receivePacket(packet);
    if (code === again || code === av.constants.AVERROR_EOF) return;
    check(av, path, "encode", code);
    // Without it the last frame has no length, and players compute a wrong rate.
    if (packet.duration <= 0n) packet.duration = 1n;
    packet.rescaleTs(encoder.timeBase, stream.timeBase);
    packet.streamIndex = stream.index;
    check(av, path, "write", await muxer.interleavedWriteFrame(packet));
    packet.unref();
  }
}

/** RGB to YUV 4:2:0 by BT.709, in swscale. */
class Converter implements Disposable {
  readonly #av: Av;
  readonly #width: number;
  readonly #height: number;
  readonly #scaler: SoftwareScaleContext;

  constructor(av: Av, width: number, height: number) {
    this.#av = av;
    this.#width = width;
    this.#height = height;
    this.#scaler = new av.lib.SoftwareScaleContext();
    this.#scaler.allocContext();
    this.#scaler.setOption("flags", "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp");
  }

  /** The frame is the caller's to free. */
  async convert(rgb: Uint8Array, index: number): Promise<Frame> {
    const { lib, constants } = this.#av;
    const bytes = Buffer.from(rgb.buffer, rgb.byteOffset, rgb.length);
    const size = { width: this.#width, height: this.#height };
    using source = lib.Frame.fromVideoBuffer(bytes, { ...size, format: constants.AV_PIX_FMT_RGB24 });
    const frame = new lib.Frame();
    frame.alloc();
    frame.width = size.width;
    frame.height = size.height;
    frame.format = constants.AV_PIX_FMT_YUV420P;
    frame.colorSpace = constants.AVCOL_SPC_BT709;
    frame.colorRange = constants.AVCOL_RANGE_MPEG;
    check(this.#av, "a frame", "allocate", frame.getBuffer());
    check(this.#av, "a frame", "convert RGB to YUV", await this.#scaler.scaleFrame(frame, source));
    frame.pts = BigInt(index);
    return frame;
  }

  [Symbol.dispose](): void {
    this.#scaler.freeContext();
  }
}
