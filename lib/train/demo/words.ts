/** The words that the demo model's tokenizers have a token for. */
import { wordsIn } from "../../models/text/word-tokenizer.js";
import { allCaptions } from "./captions.js";
import { backgroundNames, colours, type DemoColour, extraColours, motionNames, shapeNames } from "./vocabulary.js";

/**
 * Words that no caption has: a later training, such as a LoRA's, may give them a meaning, and prompts that hold them stay
 * short. Order matters, since ids are places: new ones go to the end.
 */
const further = `
the this that these those it its they them there here is are was be being been has have do does did can will
and or but with without in at by for from into onto over under above below behind before after between through across
along around toward towards away near far off out inside outside beside past against while when then as than so very
one two three four five six seven eight nine ten some many few several all both each every another other same different
who what which where how no nor never always again once twice only just also too still even
colour color coloured colored shape shaped size sized picture image photo clip scene frame camera view shot footage animation
drawing style light dark bright pale deep vivid soft sharp clear plain simple flat solid smooth shiny glowing blurry clean
big bigger biggest large larger largest small smaller smallest tiny huge little long longer short shorter wide thin thick tall
fast faster slow slower quickly slowly steadily gently suddenly evenly constantly continuously softly calmly
disc disk ball dot round ring oval ellipse sphere box block cube rectangle diamond star plus sign line arrow heart hexagon
pentagon polygon object thing form figure symbol
move moved movement motion motionless motions slide slid slides go gone went rise rose fell fall drop drops dropping
climb climbs climbing sink sinks sinking float floats floating drift drifts drifting glide glides gliding travel travels
travelling traveling fly flies flying run runs running walk walks walking jump jumps jumping bounce bounces bouncing
roll rolls rolling spin spins spinning turn turns turning rotate rotates rotating circling circles orbit orbits orbiting
counterclockwise anticlockwise grow grew grown shrink shrank expand expands expanding shrinks contract contracts contracting
swell swells swelling increase increases increasing decrease decreases decreasing become became get got stay stays staying
stand standing rest rests resting hold holds holding stop stops stopped stopping start starts starting begin begins
appear appears appearing disappear disappears vanish vanishes change changes changing fade fades fading pulse pulses
leftward leftwards rightward rightwards upward upwards downward downwards top bottom middle center centre centred centered
corner edge side sides diagonal diagonally horizontal horizontally vertical vertically straight forward backward forwards
backwards up down direction path circle circular
background backdrop ground behind empty space sky sea water night day sun moon snow grass wall floor paper
brown lime teal magenta violet indigo turquoise maroon olive gold golden silver beige tan crimson scarlet amber lavender
gray greyish reddish greenish bluish yellowish darker lighter brighter transparent striped dotted colourful colorful
cat dog bird fish horse car boat tree flower house man woman child person people hand eye face
video videos shows showing shown seen see looks look like against
`;

/** All words of captions, then further ones; always the same list. */
export function demoWords(): string[] {
  const colourList = Object.keys({ ...colours, ...extraColours }) as DemoColour[];
  const captions = colourList.flatMap((colour) =>
    shapeNames.flatMap((shape) =>
      motionNames.flatMap((motion) =>
        backgroundNames.flatMap((background) => allCaptions({ colour, shape, motion, background })),
      ),
    ),
  );
  return wordsIn([...captions, further].join("\n")).filter((word) => /\p{L}/u.test(word));
}
