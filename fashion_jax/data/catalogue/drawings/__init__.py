"""The drawings of the generated catalogue: one function per sub-category.

Every cut, length and ornament is drawn at random; colour, print, pose and background come with the canvas
and say nothing about the class.
"""

from fashion_jax.data.catalogue.drawings import accessories, apparel, footwear, jewellery, personal_care

DRAWINGS = {
    "Bags": accessories.bags,
    "Belts": accessories.belts,
    "Bottomwear": apparel.bottomwear,
    "Brooches": jewellery.brooches,
    "Dress": apparel.dress,
    "Earrings": jewellery.earrings,
    "Eyewear": accessories.eyewear,
    "Flip Flops": footwear.flip_flops,
    "Fragrance": personal_care.fragrance,
    "Headwear": accessories.headwear,
    "Innerwear": apparel.innerwear,
    "Lips": personal_care.lips,
    "Loungewear and Nightwear": apparel.loungewear,
    "Nails": personal_care.nails,
    "Necklaces": jewellery.necklaces,
    "Outerwear": apparel.outerwear,
    "Sandal": footwear.sandal,
    "Saree": apparel.saree,
    "Scarves": accessories.scarves,
    "Shoes": footwear.shoes,
    "Socks": accessories.socks,
    "Ties": accessories.ties,
    "Topwear": apparel.topwear,
    "Wallets": accessories.wallets,
    "Watches": jewellery.watches,
}
